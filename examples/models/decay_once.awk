# Seed and parameters are variables; the values go to standard output.
# The Lehmer generator, the same in every awk.
function uniform() {
    state = state * 16807 % 2147483647
    return state / 2147483647
}
function normal(    radius) {
    radius = sqrt(-2 * log(uniform()))
    return radius * cos(6.283185307179586 * uniform())
}
BEGIN {
    state = seed + 1
    printf "%.17g %.17g %.17g\n", exp(-k * 0.5 + s * normal()), exp(-k + s * normal()), exp(-k * 2 + s * normal())
}
