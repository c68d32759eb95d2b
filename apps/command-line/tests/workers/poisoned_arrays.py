import array, os, sys, time
poison = {float(k): kind for k, kind in (line.split() for line in open("poison.txt"))}
read, out = sys.stdin.buffer.read, sys.stdout.buffer
while start := read(10):
    header = read(start[8] + 256 * start[9]).decode()
    rows = int(header.split("(")[1].split(",")[0])
    values = array.array("d", read(24 * rows))
    for i in range(rows):
        seed, k, s = values[3 * i : 3 * i + 3]
        kind = poison.get(k)
        if kind == "crash":
            sys.exit(f"boom at {k}")
        if kind == "kill":
            os.kill(os.getpid(), 9)
        if kind == "hang":
            time.sleep(1000)
        if kind == "end":
            sys.exit(0)
        values[3 * i : 3 * i + 3] = array.array("d", [float("nan")] * 3 if kind == "nan" else [seed + k, s, 1])
        if kind in ("text", "few", "many"):
            header = "nonsense"
    out.write(start[:8] + len(header).to_bytes(2, "little") + header.encode() + values.tobytes())
    out.flush()
