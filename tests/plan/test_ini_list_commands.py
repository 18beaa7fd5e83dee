#!/usr/bin/python3
"""The commands `ini` and `list`: output, exit status, refusals. The engine is PORTREEVE_ENGINE, by default
build/MODE/portreeve-engine. Prints TAP."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINE = os.path.abspath(os.environ.get("PORTREEVE_ENGINE", os.path.join(HERE, "..", "..", "build", os.environ.get("MODE") or "release", "portreeve-engine")))
count = [0, 0]


def ok(good, name, note=None):
    count[0] += 1
    count[1] += not good
    print("%sok %d - %s" % ("" if good else "not ", count[0], name), flush=True)
    if not good:
        print("# %r" % (note,), flush=True)


def run(work, *args, text=""):
    p = subprocess.run([ENGINE, *args], input=text.encode(), capture_output=True, timeout=60, cwd=work)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def write(work, name, text):
    os.makedirs(os.path.dirname(os.path.join(work, name)), exist_ok=True)
    with open(os.path.join(work, name), "w", newline="") as f:
        f.write(text)


def check_usage(work):
    for command in ("ini", "list"):
        status, out, err = run(work, command, "--help")
        ok(status == 0 and out.startswith("usage: portreeve " + command) and not err, "%s --help" % command, (status, out, err))
        for args in ((), ("a", "b"), ("--nonsense", "a")):
            status, out, err = run(work, command, *args)
            ok(status == 2 and not out and "usage:" in err, "%s %s is wrong usage" % (command, " ".join(args)), (status, out, err))
        status, out, err = run(work, command, "nosuch")
        ok(status == 1 and not out and "nosuch: cannot open" in err, "%s: a missing file is named" % command, (status, out, err))
        status, out, err = run(work, command, ".")
        ok(status == 1 and not out and ".: cannot read" in err, "%s: a folder is refused" % command, (status, out, err))


def check_ini(work):
    write(work, "conf/tomcat.ini", "# c\nPort = 8080  \r\nSecure-[fe80::1]=x\nPort:81\npath=C:\\dir\n")
    status, out, err = run(work, "ini", "conf/tomcat.ini", "--json")
    want = [{"key": "Port", "value": "8080  ", "line": 2}, {"key": "Secure-[fe80::1]", "value": "x", "line": 3, "special": True},
            {"key": "Port", "value": "81", "line": 4, "dup_of": 2}, {"key": "path", "value": "C:dir", "line": 5, "bad_escape": True}]
    ok(status == 0 and json.loads(out) == want and not err, "I6 I8: ini FILE --json has every entry in order", (status, out, err))
    status, out, err = run(work, "ini", "conf/tomcat.ini")
    ok(status == 0 and 'conf/tomcat.ini:4: "Port" = "81"' in out and "replaces line 2" in out and len(out.splitlines()) == 4,
       "ini FILE is readable", (status, out, err))
    write(work, "empty.ini", "")
    status, out, err = run(work, "ini", "--json", "empty.ini")
    ok(status == 0 and json.loads(out) == [], "an empty file is an empty array", (status, out, err))
    write(work, "bad.ini", "a=1\nb=\\u12\n")
    status, out, err = run(work, "ini", "--json", "bad.ini")
    ok(status == 1 and not out and "bad.ini:2: " in err, "I4: a malformed escape is refused with file and line", (status, out, err))
    write(work, "big.ini", "# padding\n" * 200000)
    status, out, err = run(work, "ini", "--json", "big.ini")
    ok(status == 1 and not out and "big.ini: " in err, "more than a megabyte is refused", (status, out, err))


def check_list(work):
    write(work, "lists/clients.list", "; clients\n10.0.0.0/8\n!10.1.0.0-10.1.0.9\n#staff\n#plain\n")
    write(work, "lists/staff.list", "\n2001:db8::/32\n!2001:db8::bad\n")
    write(work, "lists/plain", "192.0.2.1\n")
    asked = ["10.2.3.4", "10.1.0.9", "10.1.0.10", "::ffff:10.0.0.1", "2001:DB8::1", "2001:db8::bad", "192.0.2.1", "192.0.2.2", "::"]
    told = ["in lists/clients.list:2", "out lists/clients.list:3", "in lists/clients.list:2",
            "in lists/clients.list:2", "in lists/staff.list:2",
            "out lists/staff.list:3",
            "in lists/plain:1", "out (no line)", "out (no line)"]
    status, out, err = run(work, "list", "lists/clients.list", text="\n".join(asked) + "\n")
    ok(status == 0 and out.splitlines() == ["%s %s" % x for x in zip(asked, told)] and not err,
       "L1 L2 L4 L5: each address and the line that decides", (status, out, err))
    status, out, err = run(os.path.join(work, "lists"), "list", "clients.list", text="  10.0.0.1 \r\n\n::1")
    ok(status == 0 and out == "10.0.0.1 in clients.list:2\n::1 out (no line)\n",
       "from the folder itself; blanks, CRLF, a last line without end", (status, out, err))
    status, out, err = run(work, "list", "lists/clients.list", text="10.0.0.1\nhost\n10.0.0.2\n")
    ok(status == 1 and len(out.splitlines()) == 2 and "standard input:2: " in err,
       "what is no address is named, the rest answered", (status, out, err))
    status, out, err = run(work, "list", "lists/clients.list", text="1" * 5000 + "\n")
    ok(status == 1 and "standard input:1: " in err, "an endless line is refused", (status, out, err))
    write(work, "lists/round.list", "#other\n")
    write(work, "lists/other.list", "\n#round\n")
    status, out, err = run(work, "list", "lists/round.list")
    ok(status == 1 and not out and "lists/other.list:2: " in err
       and "lists/round.list:1 includes lists/other.list:2 includes lists/round.list" in err,
       "L4: a cycle names the way round", (status, out, err))
    write(work, "lists/bad.list", "10.0.0.1\n10.0.0.1/8\n")
    status, out, err = run(work, "list", "lists/bad.list")
    ok(status == 1 and "lists/bad.list:2: " in err and "10.0.0.1/8" in err,
       "L1 L3: a bad line is named with file and number", (status, out, err))
    write(work, "lists/lost.list", "#nosuch\n")
    status, out, err = run(work, "list", "lists/lost.list")
    ok(status == 1 and "lists/lost.list:1: #nosuch" in err, "L4: a missing list is named", (status, out, err))


def check_million(work):
    spread = [i * 2654435761 % 2**32 for i in range(1000000)]
    lines = ["%s%d.%d.%d.%d" % ("!" if i % 10 == 9 else "", v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255) for i, v in enumerate(spread)]
    write(work, "million.list", "\n".join(lines))
    asked = range(0, 1000000, 997)
    status, out, err = run(work, "list", "million.list", text="\n".join(lines[i].lstrip("!") for i in asked))
    want = ["%s %s million.list:%d" % (lines[i].lstrip("!"), "out" if i % 10 == 9 else "in", i + 1) for i in asked]
    ok(status == 0 and out.splitlines() == want, "L6: 1,000,000 lines, each decision names its line", (status, out[:200], err))


def main():
    work = tempfile.mkdtemp(prefix="portreeve-lists-")
    try:
        check_usage(work)
        check_ini(work)
        check_list(work)
        check_million(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("1..%d" % count[0])
    return 1 if count[1] else 0


if __name__ == "__main__":
    sys.exit(main())
