import os, sys, time
poison = dict(line.split() for line in open("poison.txt"))
for line in sys.stdin:
    seed, k, s = line.split()
    kind = poison.get(k)
    if kind == "crash":
        sys.exit("boom at " + k)
    if kind == "kill":
        os.kill(os.getpid(), 9)
    if kind == "hang":
        time.sleep(1000)
    if kind == "end":
        sys.exit(0)
    answer = {"nan": "nan", "text": "a b c", "few": "1 2", "many": "1 2 3 4"}.get(kind)
    print(answer or f"{int(seed) + float(k)} {s} 1", flush=True)
