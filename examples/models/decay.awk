# A line in, seed and parameters; a line out, the values.
# The Lehmer generator, the same in every awk.
function uniform() {
    state = state * 16807 % 2147483647
    return state / 2147483647
}
function normal(    radius) {
    radius = sqrt(-2 * log(uniform()))
    return radius * cos(6.283185307179586 * uniform())
}
{
    state = $1 + 1
    printf "%.17g %.17g %.17g\n", exp(-$2 * 0.5 + $3 * normal()), exp(-$2 + $3 * normal()), exp(-$2 * 2 + $3 * normal())
    fflush()
}
