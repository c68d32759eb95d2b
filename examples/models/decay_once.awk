# Seed and parameters are variables; the values go to standard output.
function normal(    radius) {
    radius = sqrt(-2 * log(1 - rand()))
    return radius * cos(6.283185307179586 * rand())
}
BEGIN {
    srand(seed)
    printf "%.17g %.17g %.17g\n", exp(-k * 0.5 + s * normal()), exp(-k + s * normal()), exp(-k * 2 + s * normal())
}
