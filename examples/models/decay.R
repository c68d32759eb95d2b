# A line in, seed and parameters; a line out, the values.
input <- file("stdin", "r")
while (length(line <- readLines(input, n = 1)) > 0) {
  row <- as.numeric(strsplit(line, " ")[[1]])
  set.seed(row[1])
  values <- exp(-row[2] * c(0.5, 1, 2) + row[3] * rnorm(3))
  cat(formatC(values, digits = 17, format = "g"), "\n")
  flush(stdout())
}
