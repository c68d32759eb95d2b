//! Choices that have names in files and on command lines.

/// One of the values of a [`Named`] type.
#[derive(Debug, Clone)]
pub struct Choice<T> {
    /// Its name: lower case, words joined by hyphens.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// The value, with its default settings.
    pub value: T,
}

impl<T> Choice<T> {
    /// A choice.
    pub fn new(name: &'static str, about: &'static str, value: T) -> Self {
        Self { name, about, value }
    }
}

/// A type whose kinds (variants) have names. What lists them, parses them or shows them does so through this, so that a new kind is
/// known everywhere.
pub trait Named: Sized {
    /// All kinds, in the order of lists.
    fn choices() -> Vec<Choice<Self>>;

    /// The name of this one's kind.
    fn name(&self) -> &'static str {
        let kind = std::mem::discriminant(self);
        let found = Self::choices().into_iter().find(|choice| std::mem::discriminant(&choice.value) == kind);
        found.map_or("", |choice| choice.name)
    }

    /// The kind called `name` with its default settings; `None` where there is none.
    fn from_name(name: &str) -> Option<Self> {
        Self::choices().into_iter().find(|choice| choice.name == name).map(|choice| choice.value)
    }
}
