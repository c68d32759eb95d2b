# A line in, seed and parameters; a line out, the values.
function normal(    radius) {
    radius = sqrt(-2 * log(1 - rand()))
    return radius * cos(6.283185307179586 * rand())
}
{
    srand($1)
    printf "%.17g %.17g %.17g\n", exp(-$2 * 0.5 + $3 * normal()), exp(-$2 + $3 * normal()), exp(-$2 * 2 + $3 * normal())
    fflush()
}
