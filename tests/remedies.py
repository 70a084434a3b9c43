#!/usr/bin/python3
"""tests/remedies.py [--write]: no advice without a test.

tests/remedies.md lists what the product tells people to do, and the test that follows it. The advice is read from where it is given:

- sql/: each HINT, and each text of a function or a column that tells what mends something;
- relay/: what a log line says in `do`, a verdict in advise(), `check` in fail() and warn(); and any other text that names a
  command or the runbook, or has a clause that begins with one of VERBS: "..., or give it another name";
- the runbook and README.md: each paragraph and each item of a list that does the same.

An advice that is not in the list, a line of the list that nobody says any more, and a test that does not exist are complaints.
--write puts in what is new, without a test, and takes out what is no more.
"""

import ast
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIST = os.path.join(TOP, "tests", "remedies.md")
RUNBOOK = "packaging/man/boxhaul-runbook.7"

VERBS = """accept add allow apply alter ask bring build call change check choose configure connect consume create cut delete discard drop
    enable end find free get give grant hand have insert install keep let list look make mend move name pause pick purge put quote
    raise read rebuild receive redrive remove reload repair replay restart resume retry rewind rollback run say see send set skip start stop
    switch take tell try unset update upgrade use wait widen leave commit""".split()
CLAUSE = re.compile(rf"(?:^|[:;,.?(] (?:or (?:else )?|and |then |else |first )?|\bor |\bDo: )(?:{'|'.join(VERBS)})\b", re.I)

QUESTION = re.compile(r"[:,] (?:is|does|who) [^:]*\?$")

# Texts for the program, or for the eye, that look like advice: tables of help and settings, reasons that a stream gives (the core
# knows no commands), what an HTTP answer or a statement is made of.
NO_ADVICE = re.compile(r"relay/(core/|main\.c|command/(help|line)\.c|config/settings\.c|base/failpoint\.c|edge/http\.c|watch/figures\.c)")
STATEMENT = re.compile(r"pg_catalog|^(SELECT|SET|GET) |^(CREATE|DROP) (ROLE|TABLE|SEQUENCE|OR REPLACE)|^(CREATE|DROP) (TRIGGER|FUNCTION|PUBLICATION)|^ALTER PUBLICATION|^ALTER TABLE %s ENABLE|PARTITION OF|SET DEFAULT|^END CASE|^INSERT INTO %s AS|^INSERT INTO boxhaul\.sink_seen|^UPDATE %s AS|^DELETE FROM %s")

# What a HINT, or a log line's `do`, takes from elsewhere: there it is found as a text.
SQL_ELSEWHERE = {"wrong.allowed", "wrong.hint", "boxhaul.ids_remedy(why)", "hint"}
C_ELSEWHERE = {"mend", "command", "todo", "v->action"}

# A line without a test says why, in these words. They grow fewer, not more.
WITHOUT = {"no advice: ": 60, "not followed: ": 15}


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def files(folder, *endings):
    return sorted(os.path.relpath(os.path.join(where, name), TOP)
                  for where, _, names in os.walk(os.path.join(TOP, folder)) for name in names if name.endswith(endings))


def plain(text):
    return re.sub(r"\s+", " ", text).strip()


def is_advice(text):
    return "`" in text or "runbook" in text or CLAUSE.search(text) or QUESTION.search(text)


# --- the sources ---

C_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"(?:\s*(?:[A-Z]\w*\s*)?"(?:[^"\\\n]|\\.)*")*')
C_SLOT = re.compile(r'(?:KS\("do",\s*|\b(?:wrong_)?advise\(\w+,\s*|\b(?:fail|warn)\(c,\s*)$')


def of_c(path, complain):
    code = re.sub(r'"(?:[^"\\\n]|\\.)*"|/\*.*?\*/', lambda found: found[0] * (found[0][0] == '"'), read(path), flags=re.S)
    for name in re.findall(r'KS\("do", ([^")]+)\)', code):
        if name not in C_ELSEWHERE:
            complain(f"{path}: where do the words of KS(\"do\", {name}) stand? tests/remedies.py does not know")
    for found in C_TEXT.finditer(code):
        text = "".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', found[0])).replace('\\"', '"').replace("\\n", " ")
        slot = C_SLOT.search(code[:found.start()][-60:])
        asks = text.endswith("?") and path.startswith("relay/command/")
        if " " in text and (slot or len(text) > 11 and is_advice(text) and not STATEMENT.search(text) and not asks):
            yield plain(text)


def of_sql(path, complain):
    code = re.sub(r"(?m)^\s*--.*$|  --.*$", "", read(path))
    code = re.sub(r"'\s*\n\s*'", "", code)
    slots = []
    for hint in re.finditer(r"HINT = ((?:'(?:[^'\n]|'')*'|[^;'])*)", code):
        slots.append(hint.span())
        if not re.search(r"'[^'\n]* [^'\n]*'", hint[1]) and (name := re.sub(r",.*", "", hint[1], flags=re.S)) not in SQL_ELSEWHERE:
            complain(f"{path}: where do the words of HINT = {name} stand? tests/remedies.py does not know")
    remedies = " ".join(re.findall(r"FUNCTION boxhaul\.\w+_remedy\(.*?\n\$\$;", code, flags=re.S))
    for found in re.finditer(r"'((?:[^'\n]|'')*)'", code):
        text = found[1].replace("''", "'")
        slot = any(begin <= found.start() < end for begin, end in slots) or found[0] in remedies and "%" != text[-1:] or \
            re.search(r"allowed := (?:format\()?$", code[:found.start()][-40:])
        if " " in text and (slot or len(text) > 11 and is_advice(text) and not STATEMENT.search(text)):
            yield plain(text)


def is_told(text):
    """In prose, what is quoted is a command or a name."""
    return CLAUSE.search(re.sub(r"^(Means|Look|Do) : ?", "", text)) or re.search("`(?:boxhaul|systemctl|SELECT|nats) ", text)


def of_runbook():
    """Paragraphs and items, each behind its section."""
    section, part = "FIRST", []
    for line in [*read(RUNBOOK).split(".Sh FIRST", 1)[1].splitlines(), ".Sh"]:
        if re.match(r"\.(Sh|Ss|Pp|It|Bl|El|Bd|Ed)\b", line):
            text = plain(" ".join(part))
            if is_told(text):
                yield f"{section}: {text}"
            section = line[4:].split()[0] if re.match(r"\.S[sh] ", line) else section
            part = [line[4:]] if line.startswith(".It ") else []
        elif line.startswith((".Ql ", ".Pq Ql ")):
            word, *more = re.match(r"\.(?:Pq )?Ql (.*?)( [.,;:)]+)?$", line).groups()
            part.append(f"`{word}`{(more[0] or '').strip()}")
        elif not line.startswith('.\\"'):
            part.append(re.sub(r"^\.[A-Z]\w ", "", line).replace("\\&", "").replace("\\-", "-").replace("\\(dq", '"'))


def of_readme():
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "\n", read("README.md").split("## Install")[0].split("## The guarantee")[1]
                  + read("README.md").split("## Set it up")[1].split("## When not")[0])
    for part in re.split(r"\n\n|\n(?=- |\d\. |\|)", text):
        if is_told(plain(part)) and not part.startswith(("#", "|")):  # what stands in its tables tests/readme.py runs by itself
            yield plain(part)


def given(complain):
    """{file: what it advises, in its order}"""
    everything = {path: of_c(path, complain) for path in files("relay", ".c", ".h") if not NO_ADVICE.match(path)}
    everything |= {path: of_sql(path, complain) for path in files("sql", ".sql")}
    everything |= {RUNBOOK: of_runbook(), "README.md": of_readme()}
    return {path: list(dict.fromkeys(texts)) for path, texts in sorted(everything.items())}


# --- the list ---

def listed():
    """{file: {advice: what is said of it}}"""
    of = {}
    for line in read("tests/remedies.md").splitlines():
        if line.startswith("### "):
            here = of.setdefault(line[4:], {})
        elif line.startswith("| ") and of and not line.startswith(("| advice ", "|---")):
            advice, said = re.fullmatch(r"\| (.*) \| (.*) \|", line).groups()
            here[advice] = said
    return of


def write(everything, have):
    head = read("tests/remedies.md").split("\n### ", 1)[0].rstrip()
    parts = [head]
    for path, texts in everything.items():
        if texts:
            parts.append(f"\n### {path}\n\n| advice | followed by |\n|---|---|")
            parts += [f"| {text} | {have.get(path, {}).get(text, '')} |" for text in texts]
    with open(LIST, "w", encoding="utf-8") as f:
        f.write("\n".join(parts) + "\n")


def tests_of(path):
    """Classes, and their tests, of a test file; the functions of one in C."""
    if path.endswith(".c"):
        return set(re.findall(r"(?m)^static (?:\w+ )+\**(\w+)\(", read(path)))
    tree = ast.parse(read(path))
    return {name for thing in tree.body if isinstance(thing, (ast.ClassDef, ast.FunctionDef))
            for name in [thing.name, *(f"{thing.name}.{part.name}" for part in getattr(thing, "body", [])
                                       if isinstance(part, ast.FunctionDef))]}


def of_line(path, advice, said, count):
    without = next((words for words in WITHOUT if said.startswith(words)), None)
    if without:
        count[without] = count.get(without, 0) + 1
        return
    named = re.findall(r"`([\w/]+\.(?:py|c))(?::([\w.]+))?`", said)
    if not named:
        yield f"{path}: no test follows: {advice}"
    for file, name in named:
        file = f"tests/{file}"
        if not os.path.exists(os.path.join(TOP, file)):
            yield f"tests/remedies.md: there is no {file}"
        elif name and name not in tests_of(file):
            yield f"tests/remedies.md: there is no {file}:{name}"


def complaints():
    found, count = [], {}
    everything, have = given(found.append), listed()
    for path in sorted(set(everything) | set(have)):
        texts = everything.get(path, [])
        found += [f"{path}: not in tests/remedies.md: {text}" for text in texts if text not in have.get(path, {})]
        found += [f"{path}: nobody says any more: {text}" for text in have.get(path, {}) if text not in texts]
        for text, said in have.get(path, {}).items():
            found += of_line(path, text, said, count)
    for words, most in WITHOUT.items():
        if count.get(words, 0) > most:
            found.append(f"tests/remedies.md: {count[words]} lines say {words!r}, more than {most}")
    if sum(map(len, everything.values())) < 200:
        found.append("tests/remedies.py does not find the advice any more")
    return found


def main():
    if sys.argv[1:] == ["--write"]:
        write(given(print), listed())
    if found := complaints():
        sys.exit("\n".join(found))
    have = listed()
    print(f"{sum(map(len, have.values()))} pieces of advice, each with the test that follows it, or why there is none")


if __name__ == "__main__":
    main()
