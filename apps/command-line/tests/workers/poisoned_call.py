import os, sys, time
seed, k, s = sys.argv[1:]
kind = dict(line.split() for line in open("poison.txt")).get(k)
if kind == "crash" or kind == "end":
    sys.exit("boom at " + k)
if kind == "kill":
    os.kill(os.getpid(), 9)
if kind == "hang":
    time.sleep(1000)
answer = {"nan": "nan", "text": "a b c", "few": "1 2", "many": "1 2 3 4"}.get(kind)
print(answer or f"{int(seed) + float(k)} {s} 1")
