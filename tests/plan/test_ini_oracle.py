#!/usr/bin/python3
"""The INI reader against its oracle: every file here is read by `portreeve-engine ini FILE --json` and by java.util.Properties of a JDK
(IniOracle.java); keys and values must be equal, and what Java refuses we refuse with file and line. Files are made afresh each time,
always the same ones. The engine is PORTREEVE_ENGINE, by default build/MODE/portreeve-engine. Prints TAP."""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINE = os.environ.get("PORTREEVE_ENGINE", os.path.join(HERE, "..", "..", "build", os.environ.get("MODE") or "release", "portreeve-engine"))
RANDOM_FILES = 240

# name, file, and what Java is given instead where our reading is meant to differ (only `Secure-[…]`)
HAND = []


def case(name, data, java=None):
    as_bytes = lambda x: x.encode("utf-8") if isinstance(x, str) else x
    HAND.append((name, as_bytes(data), as_bytes(data if java is None else java)))


# I1 line ends
case("I1 LF", "Port=8080\nSecurePort=8443\n")
case("I1 CR", "Port=8080\rSecurePort=8443\r")
case("I1 CRLF", "Port=8080\r\nSecurePort=8443\r\n")
case("I1 mixed line ends", "a=1\rb=2\nc=3\r\nd=4\n\re=5")
case("I1 last line without end", "Port=8080")
case("I1 last line without end after CRLF", "a=1\r\nPort=8080")
case("I1 empty file", "")
case("I1 only line ends", "\n\r\r\n\n")
case("I1 other separators of Unicode end no line", "a=1\u2028b=2\u0085c=3\u000bd=4\n")
# I2 comments and blank lines
case("I2 # comment", "# Port=1\nPort=2\n")
case("I2 ! comment", "! Port=1\nPort=2\n")
case("I2 blanks before a comment", "  \t\f# Port=1\n \t!x=1\nPort=2\n")
case("I2 a comment is never continued", "# comment \\\nPort=2\n")
case("I2 comment continued by two backslashes", "# comment \\\\\nPort=2\n")
case("I2 a comment sign behind the key is text", "Port=2 # not a comment\nx=!y\n")
case("I2 comment sign in a key", "a#b=1\na!b=2\n")
case("I2 escaped comment signs", "\\#a=1\n\\!b=2\n")
case("I2 comment at the end of the file", "a=1\n# end")
case("I2 lone comment sign", "#")
case("I2 blank lines", "\n   \n\t\n\f\na=1\n\n")
case("I2 a line that only has blanks and a comment in CR files", "  \r#x\r  a=1\r")
case("I2 comment sign on a continuation line is text", "a=1,\\\n#2,\\\n!3\n")
case("I2 comment behind a line that is only a backslash", "\\\n# c\nb=1\n")
case("I2 comment with a backslash at the end of file", "a=1\n#x\\")
# I3 separators
case("I3 =", "k=v")
case("I3 :", "k:v")
case("I3 blank", "k v")
case("I3 tab", "k\tv")
case("I3 form feed", "k\fv")
case("I3 blanks round =", "k \t=\f v")
case("I3 blanks round :", "k  :  v")
case("I3 first separator counts", "k=:v\nl:=v\nm==v\nn::v\n")
case("I3 blank then separator then separator", "k = =v\nl : :v\nm = :v\n")
case("I3 blanks then separator once only", "k  = = v\n")
case("I3 key alone", "Port\nSecurePort\n")
case("I3 key with blanks behind", "Port   \nx\t\t\n")
case("I3 key with separator and nothing", "Port=\nx:\ny = \n")
case("I3 empty key =", "=v\n")
case("I3 empty key :", ":v\n")
case("I3 empty key behind blanks", "   = v\n")
case("I3 value keeps separators", "url=http://host:80/a=b c\n")
case("I3 leading blanks of the line", "   k=v\n\t\fl=w\n")
case("I3 no-break space is no blank", "k\u00a0=v\n")
case("I3 vertical tab is no blank", "k\x0bx=v\n")
case("I3 NUL inside", b"k\0x=a\0b\n")
# I4 escapes
case("I4 known escapes in the value", r"a=\t\n\r\f\\\"\'\ \=\:" + "\n")
case("I4 known escapes in the key", r"\t\n\r\f\\\"\'\ \=\:=v" + "\n")
case("I4 escaped separators in keys", "a\\=b=1\na\\:b=2\na\\ b=3\na\\\tb=4\n")
case("I4 unknown escapes lose the backslash", r"p=C:\dir\sub\x\zeta\8" + "\n")
case("I4 doubled backslashes", r"p=C:\\dir\\sub" + "\n")
case("I4 unknown escape of a character beyond ASCII", "p=\\\u00e9\\\u20ac\\\U0001f600\n")
case("I4 \\b and \\0 are unknown", r"p=\b\0\a\v\e" + "\n")
case("I4 \\u", r"a=\u0041\u00e4\u20AC" + "\n")
case("I4 \\u in keys", "\\u0050ort=1\n\\u003d=2\n\\u0020x=3\n")
case("I4 \\u of a separator does not separate", "a\\u003db=c\na\\u003ab c\na\\u0020b=d\n")
case("I4 \\u000a does not end a line", "a=x\\u000ay\\u000dz\n")
case("I4 \\u0000", "a\\u0000b=x\\u0000y\n\\u0000=\\u0000\n")
case("I4 \\u with capital and small digits", r"a=\uABCD\uabcd\uFfFf" + "\n")
case("I4 \\U is unknown", r"a=\U0041" + "\n")
case("I4 \\u with more digits behind", r"a=\u00414\u0041\u0041F" + "\n")
case("I4 \\u behind an escaped backslash", r"a=\\u0041" + "\n")
case("I4 \\u behind three backslashes", r"a=\\\u0041" + "\n")
case("I4 surrogate pair", r"a=\ud83d\ude00" + "\n")
case("I4 surrogate pair in a key", "\\ud83d\\ude00=1\n\U0001f600x=2\n")
case("I4 lone high surrogate", r"a=x\ud83dy" + "\n")
case("I4 lone low surrogate", r"a=x\ude00y" + "\n")
case("I4 surrogates the wrong way round", r"a=\ude00\ud83d" + "\n")
case("I4 two high and a low surrogate", r"a=\ud83d\ud83d\ude00\ude00" + "\n")
case("I4 surrogates with a character between", r"a=\ud83d-\ude00" + "\n")
case("I4 a key by surrogates and the same key by UTF-8", "\\ud83d\\ude00=1\n\U0001f600=2\n")
case("I4 keys with equal beginnings and NUL", "a\\u0000b=1\na\\u0000c=2\na=3\n")
case("I4 malformed \\u: no digits", "ok=1\nbad=\\u\n")
case("I4 malformed \\u: three digits", "bad=\\u004\n")
case("I4 malformed \\u: not hexadecimal", "a=1\n\nbad=\\u00g1\n")
case("I4 malformed \\u: sign", "bad=\\u+041\n")
case("I4 malformed \\u in a key", "ba\\u12d=1\n")
case("I4 malformed \\u at the end of the file", "bad=\\u00")
case("I4 malformed \\u at the end of a key", "bad\\u00=41\n")
case("I4 malformed \\u with fullwidth digits", "bad=\\u\uff10\uff10\uff14\uff11\n")
case("I4 malformed \\u behind a longer line", "long=0123456789abcdef0123456789abcdef\nbad=\\u0\n")
case("I4 malformed \\u in a comment is nothing", "# \\u00zz\na=1\n")
case("I4 malformed \\u on a continuation line", "a=1,\\\n 2,\\\n \\u12\n")
case("I4 \\u broken by a continuation", "a=\\u00\\\n  41\n")
# I5 continuation
case("I5 continuation", "a=1,\\\n2,\\\n3\n")
case("I5 leading blanks of the next line go", "a=1,\\\n   \t\f2\n")
case("I5 CR", "a=1,\\\r  2\r")
case("I5 CRLF", "a=1,\\\r\n  2\r\n")
case("I5 two backslashes do not continue", "a=1\\\\\nb=2\n")
case("I5 three backslashes continue", "a=1\\\\\\\nb=2\n")
case("I5 four backslashes do not continue", "a=1\\\\\\\\\nb=2\n")
case("I5 a blank behind the backslash ends it", "a=1\\ \nb=2\n")
case("I5 a tab behind the backslash ends it", "a=1\\\t\nb=2\n")
case("I5 backslash at the end of the file", "a=1\\")
case("I5 backslash and LF at the end of the file", "a=1\\\n")
case("I5 backslash and CRLF at the end of the file", "a=1\\\r\n")
case("I5 two backslashes at the end of the file", "a=1\\\\")
case("I5 three backslashes at the end of the file", "a=1\\\\\\")
case("I5 file of one backslash", "\\")
case("I5 file of backslash and LF", "\\\n")
case("I5 file of backslash and CR", "\\\r")
case("I5 file of backslash and CRLF", "\\\r\n")
case("I5 file of backslash and two LF", "\\\n\n")
case("I5 backslash line at the end", "a=1\n\\")
case("I5 backslash line with LF at the end", "a=1\n  \\\n")
case("I5 backslash lines", "\\\n\\\n\\\na=1\n")
case("I5 continued onto an empty line", "a=1\\\n\nb=2\n")
case("I5 continued onto an empty CRLF line", "a=1\\\r\n\r\nb=2\r\n")
case("I5 continued onto a blank line", "a=1\\\n   \nb=2\n")
case("I5 continued onto a comment", "a=1\\\n# text\nb=2\n")
case("I5 continuation inside a key", "Po\\\n   rt=8080\n")
case("I5 continuation between key and separator", "Port\\\n  =8080\n")
case("I5 continuation behind the separator", "Port=\\\n  8080\n")
case("I5 continuation, then separator again", "Port \\\n = 8080\n")
case("I5 escaped blank on the next line", "a=1\\\n  \\  2\n")
case("I5 backslash inside a line is no continuation", "a=1\\2\n")
case("I5 BindAddress of the source", "BindAddress=192.168.1.1, \\\n            192.168.1.2:8081, \\\n            [fe80::1]:8082\n")
# I6 duplicates and case
case("I6 the last of two equal keys wins", "Port=1\nPort=2\n")
case("I6 three times, other entries between", "Port=1\nx=1\nPort=2\ny=1\nPort:3\n")
case("I6 keys are case-sensitive", "Port=1\nport=2\nPORT=3\n")
case("I6 equal keys by different spelling", "Port=1\nP\\u006frt=2\n\\Port=3\n")
case("I6 a later empty value wins", "Port=1\nPort=\n")
case("I6 empty keys twice", "=1\n:2\n")
# I7 encodings
case("I7 UTF-8", "name=\u00e4\u20ac\U0001f600\n\u00fc=1\n")
case("I7 Latin-1", "name=\u00e4\u00f6\u00fc\u00ff\n".encode("latin-1"))
case("I7 Latin-1 key", "\u00e4=1\n".encode("latin-1"))
case("I7 C1 bytes", b"a=\x80\x85\x9f\n")
case("I7 overlong UTF-8 is Latin-1", b"a=\xc0\xaf\n")
case("I7 surrogate in UTF-8 is Latin-1", b"a=\xed\xa0\x80\n")
case("I7 beyond U+10FFFF is Latin-1", b"a=\xf4\x90\x80\x80\n")
case("I7 cut UTF-8 is Latin-1", b"a=\xe2\x82")
case("I7 one bad byte makes the whole file Latin-1", "a=\u00e4\n".encode("utf-8") + b"b=\xe4\n")
case("I7 BOM", b"\xef\xbb\xbfPort=8080\n")
case("I7 BOM before a comment", b"\xef\xbb\xbf# c\nPort=8080\n")
case("I7 BOM before Latin-1", b"\xef\xbb\xbfname=\xe4\n")
case("I7 BOM alone", b"\xef\xbb\xbf")
case("I7 BOM twice", b"\xef\xbb\xbf\xef\xbb\xbfPort=1\n")
case("I7 BOM inside", "a=\ufeffb\n")
case("I7 noncharacters", "a=\ufffe\uffff\n")
case("I7 Latin-1 with escapes", b"p\xe4=\\\xe4\\u00e4\\ud83d\\ude00\n")
# I8 trailing blanks
case("I8 trailing blanks belong to the value", "Port=8080  \nPassword=secret \t\f\n")
case("I8 trailing blanks with CRLF", "Port=8080 \r\n")
case("I8 value of blanks", "Port=   \n")
case("I8 escaped leading blank", "Password=\\  x \n")
# the trap of design.md
case("Secure-[v6] read specially", "Secure-[fe80::1]=x\n", "Secure-[fe80\\:\\:1]=x\n")
case("Secure-[v6] with zone and blanks", "Secure-[fe80::1%eth0] : x y\n", "Secure-[fe80\\:\\:1%eth0] : x y\n")
case("Secure-[v6] half escaped", "Secure-[fe80\\::1]=x\n", "Secure-[fe80\\:\\:1]=x\n")
case("Secure-[v6] over two lines", "Secure-[fe80:\\\n  :1]=x\n", "Secure-[fe80\\:\\:1]=x\n")
case("Secure-[v6] with separator blank", "  Secure-[::1] x\n", "Secure-[\\:\\:1] x\n")
case("Secure-[v6] escaped is plain", "Secure-[fe80\\:\\:1]=x\n")
case("Secure-[v6 without end is plain", "Secure-[fe80::1=x]\n")
case("Secure-[v6 with a blank is plain", "Secure-[fe80: :1]=x\n")
case("Secure- without brackets is plain", "Secure-fe80::1=x\n")
case("secure-[v6] in lower case is plain", "secure-[fe80::1]=x\n")
case("Secure-[v4] is plain", "Secure-[192.0.2.1]=x\nSecure-192.0.2.2=y\n")
case("Secure-[v6]:port keeps the colon behind the bracket", "Secure-[::1]:443=x\n", "Secure-[\\:\\:1]:443=x\n")
# sizes: Java reads in pieces of 8192 characters, so line ends and backslashes are put on the seams
for at in (8190, 8191, 8192, 8193):
    for what, text in (("CRLF", "\r\nb=2"), ("continuation", "\\\n  b=2"), ("continuation CRLF", "\\\r\n  b=2"),
                       ("end", ""), ("backslash", "\\"), ("comment", "\n#x\nb=2")):
        case("I5 %s at character %d" % (what, at), "a=" + "x" * (at - 2) + text)
case("many entries", "".join("key%d=value %d\n" % (i % 700, i) for i in range(3000)))
case("long value", "a=" + "\u00e4\\u00e4" * 20000 + "\n")

PIECES = [" ", "  ", "\t", "\f", "\n", "\n", "\r", "\r\n", "\\", "\\", "\\\\", "=", ":", "#", "!", "a", "b", "u", "t", "n", "0",
          "41", "\"", "'",
          "\\u0041", "\\u00e4", "\\ud83d", "\\ude00", "\\u", "\\u00", "\u00e4", "\u20ac", "\U0001f600", "\0", "\x0b", "\x85", "Port", "=1",
          "\\\n", "\\\r\n", "\\\r", "\\\n  ", "\\ ", "\\=", "\\:"]
# malformed \u ends the whole file, so most files go without
CALM = [p for p in PIECES if p not in ("\\u", "\\u00", "u")]


def random_file(seed):
    r = random.Random(seed)
    pieces = PIECES if r.random() < 0.2 else CALM
    data = "".join(r.choice(pieces) for _ in range(r.choice((3, 8, 20, 60, 200)))).encode("utf-8")
    if r.random() < 0.2:
        at = r.randrange(len(data) + 1)
        data = data[:at] + bytes([r.randrange(128, 256)]) + data[at:]
    return b"\xef\xbb\xbf" + data if r.random() < 0.1 else data


def ours(path):
    """(entries in force, error text)"""
    run = subprocess.run([ENGINE, "ini", path, "--json"], capture_output=True, timeout=60)
    if run.returncode == 1:
        return None, run.stderr.decode("utf-8")
    if run.returncode != 0:
        raise RuntimeError("status %d: %s" % (run.returncode, run.stderr.decode("utf-8", "replace")))
    entries, line_of, last_line = {}, {}, 0
    for x in json.loads(run.stdout.decode("utf-8")):
        if x.get("dup_of") != line_of.get(x["key"]):
            raise RuntimeError("dup_of %r, but the earlier entry is on line %r" % (x.get("dup_of"), line_of.get(x["key"])))
        if x["line"] <= last_line:
            raise RuntimeError("entry on line %d behind one on line %d" % (x["line"], last_line))
        entries[x["key"]], line_of[x["key"]], last_line = x["value"], x["line"], x["line"]
    return entries, None


def java_all(work, paths):
    javac = shutil.which("javac")
    if not javac:
        raise RuntimeError("no javac: the oracle needs a JDK (apt-get install openjdk-17-jdk-headless)")
    subprocess.run([javac, "-d", work, os.path.join(HERE, "IniOracle.java")], check=True, timeout=300)
    run = subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-cp", work, "IniOracle"],
                         input="".join(p + "\n" for p in paths).encode(), capture_output=True, check=True, timeout=300)
    answers = [json.loads(line) for line in run.stdout.decode("ascii").splitlines()]
    if len(answers) != len(paths):
        raise RuntimeError("the oracle answered for %d of %d files" % (len(answers), len(paths)))
    return answers


def compare(path, answer):
    entries, error = ours(path)
    if "error" in answer:
        if error is None:
            return "Java refuses (%s), we read %r" % (answer["error"], entries)
        if not re.search(re.escape(path) + r":[1-9][0-9]*: ", error):
            return "the refusal does not name file and line: " + error
        return None
    if error is not None:
        return "we refuse what Java reads: " + error
    return None if entries == answer["entries"] else "ours %r, Java's %r" % (entries, answer["entries"])


def write(work, name, data):
    path = os.path.join(work, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def main():
    count = [0, 0]

    def ok(good, name, note=None):
        count[0] += 1
        count[1] += not good
        print("%sok %d - %s" % ("" if good else "not ", count[0], name), flush=True)
        if note:
            print("# " + repr(note)[:2000], flush=True)

    files = HAND + [("random file %d" % i, random_file(i), random_file(i)) for i in range(RANDOM_FILES)]
    work = tempfile.mkdtemp(prefix="portreeve-ini-")
    try:
        mine = [write(work, "%d.ini" % i, f[1]) for i, f in enumerate(files)]
        theirs = [p if f[1] == f[2] else write(work, "%d-java.ini" % i, f[2]) for i, (f, p) in enumerate(zip(files, mine))]
        answers = java_all(work, theirs)
        read = sum("entries" in a for a in answers)
        for (name, _, _), path, answer in zip(files, mine, answers):
            try:
                note = compare(path, answer)
            except (RuntimeError, ValueError, subprocess.TimeoutExpired) as e:
                note = str(e)
            ok(note is None, name, note)
        ok(len(files) >= 220 and read >= 200, "I1-I8: %d files, %d of them read, equal to java.util.Properties" % (len(files), read))
    except (RuntimeError, OSError, subprocess.SubprocessError) as e:
        ok(False, "the oracle runs", str(e))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("1..%d" % count[0])
    return 1 if count[1] else 0


if __name__ == "__main__":
    sys.exit(main())
