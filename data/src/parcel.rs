//! Values as bytes, bit by bit, on their way from one process of a [`Team`](crate::Team) to the others.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can be sent to a process of the same program on a machine of the same kind.
pub trait Parcel: Sized {
    /// Appends its bytes.
    fn pack(&self, to: &mut Vec<u8>);

    /// Takes its bytes from the front; `None` where they are not its own.
    fn unpack(from: &mut &[u8]) -> Option<Self>;

    /// Its bytes.
    fn packed(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.pack(&mut bytes);
        bytes
    }

    /// The value of which these are all bytes.
    fn unpacked(mut bytes: &[u8]) -> Option<Self> {
        let value = Self::unpack(&mut bytes)?;
        bytes.is_empty().then_some(value)
    }
}

/// Numbers by their bytes.
macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Parcel for $number {
            fn pack(&self, to: &mut Vec<u8>) {
                to.extend(self.to_ne_bytes());
            }

            fn unpack(from: &mut &[u8]) -> Option<Self> {
                let (own, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(Self::from_ne_bytes(*own))
            }
        }
    )*};
}

numbers!(u8, u64, f32, f64);

impl Parcel for () {
    fn pack(&self, _: &mut Vec<u8>) {}

    fn unpack(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Parcel for bool {
    fn pack(&self, to: &mut Vec<u8>) {
        u8::from(*self).pack(to);
    }

    fn unpack(from: &mut &[u8]) -> Option<Self> {
        Some(u8::unpack(from)? != 0)
    }
}

impl<T: Parcel> Parcel for Vec<T> {
    fn pack(&self, to: &mut Vec<u8>) {
        (self.len() as u64).pack(to);
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut &[u8]) -> Option<Self> {
        let count = u64::unpack(from)?;
        (0..count).map(|_| T::unpack(from)).collect()
    }
}

impl<T: Parcel> Parcel for Option<T> {
    fn pack(&self, to: &mut Vec<u8>) {
        self.is_some().pack(to);
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut &[u8]) -> Option<Self> {
        if bool::unpack(from)? { Some(Some(T::unpack(from)?)) } else { Some(None) }
    }
}

impl<A: Parcel, B: Parcel> Parcel for (A, B) {
    fn pack(&self, to: &mut Vec<u8>) {
        self.0.pack(to);
        self.1.pack(to);
    }

    fn unpack(from: &mut &[u8]) -> Option<Self> {
        Some((A::unpack(from)?, B::unpack(from)?))
    }
}

impl<A: Parcel, B: Parcel, C: Parcel> Parcel for (A, B, C) {
    fn pack(&self, to: &mut Vec<u8>) {
        self.0.pack(to);
        self.1.pack(to);
        self.2.pack(to);
    }

    fn unpack(from: &mut &[u8]) -> Option<Self> {
        Some((A::unpack(from)?, B::unpack(from)?, C::unpack(from)?))
    }
}

/// What has a form in JSON that is read back as it was: numbers in it must be finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InJson<T>(pub T);

impl<T: Serialize + DeserializeOwned> Parcel for InJson<T> {
    fn pack(&self, to: &mut Vec<u8>) {
        serde_json::to_vec(&self.0).expect("plain values serialise").pack(to);
    }

    fn unpack(from: &mut &[u8]) -> Option<Self> {
        Some(Self(serde_json::from_slice(&Vec::unpack(from)?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_parts_of_them_do_not() {
        type Values = (Vec<f64>, Option<(u64, Vec<bool>)>, InJson<Vec<(String, f64)>>);
        let values: Values =
            (vec![0.1, f64::INFINITY, -0.0], Some((7, vec![true, false])), InJson(vec![("a".into(), 1.0 / 3.0)]));
        let bytes = values.packed();
        assert_eq!(Values::unpacked(&bytes), Some(values));
        assert!((0..bytes.len()).all(|end| Values::unpacked(&bytes[..end]).is_none()));
        assert_eq!(f32::unpacked(&f32::from_bits(0x7fc0_0001).packed()).map(f32::to_bits), Some(0x7fc0_0001));
    }
}
