#!/usr/bin/python3
"""tests/manual.py PROGRAM [--write]: the manual says what the program says.

Every list in packaging/man/ is made of the program's own tables, and stands between two comments:

    .\\" list: NAME
    .\\" end of list

This compares each with what it has to be, and fails with the difference; --write puts it in. Then: each alert names a section of
the runbook, what the pages tell to run or quote exists, the pages refer to pages that exist, and mandoc has nothing to say. And each
advice that is given anywhere has the test that follows it: tests/remedies.py.
"""

import difflib
import os
import re
import subprocess
import sys
import textwrap

import remedies

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAN = os.path.join(TOP, "packaging", "man")
PAGES = ("boxhaul.8", "boxhaul.conf.5", "boxhaul-capture.7", "boxhaul-metrics.7", "boxhaul-move.7", "boxhaul-runbook.7", "boxhaul-saga.7", "boxhaul-sql.7")
BLOCK = re.compile(r'(?m)^\.\\" list: (.+)\n((?:.*\n)*?)\.\\" end of list$')


def read(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as f:
        return f.read()


class Program:
    """What the program tells of itself."""

    def __init__(self, path):
        self.path = path

    def says(self, *words):
        return subprocess.run([self.path, *words], stdout=subprocess.PIPE, text=True, check=True).stdout

    def commands(self):
        """[(words, what is behind them in the usage line, summary, more, [(option, value, help)])]"""
        table = self.says("help").split("\ncommands:\n")[1].split("\n\n")[0]
        return [self.command(re.split("  +", line.strip())[0]) for line in table.splitlines()
                if not line.startswith("  failpoints ")]  # in builds for tests only

    def command(self, words):
        usage, summary, *more, options = self.says("help", *words.split()).rstrip().split("\n\n")
        rows = re.findall(r"(?m)^  --([a-z-]+)(?:, -\w)?(?: ([A-Z]+))? +(\S.*)$", options)
        assert usage.startswith(f"usage: boxhaul {words}") and rows, words
        argument = re.sub(r"\[-c FILE \| NAME\]|\[options\]", "", usage[len(f"usage: boxhaul {words}"):]).strip()
        return words, argument, summary, "\n".join(more), rows

    def statuses(self):
        return re.findall(r"(?m)^  (\d+)  (.+)$", self.says("help").split("\nexit status:\n")[1])

    def settings(self):
        """[(group, help of the group, [(path, value, help)])], from the sample."""
        groups, names, comments = [], [], []
        for line in self.says("config-sample").split("\n\n", 1)[1].splitlines():
            line = line.strip()
            if line.startswith("# "):
                comments.append(line[2:])
            elif opened := re.fullmatch(r"#?(\w+) = (?:\( )?\{", line):
                names.append(opened.group(1))
                groups.append((".".join(names), " ".join(comments), []))
                comments = []
            elif re.fullmatch(r"#?\}(?: \))?;", line):
                names.pop()
            elif line:
                mark, name, value = re.fullmatch(r"(#?)(\w+) = (.*);", line).groups()
                if not names and not groups:
                    groups.append(("", "", []))
                if not mark:
                    comments.append("Required; for example:")
                groups[-1][2].append((".".join([*names, name]), value, " ".join(comments)))
                comments = []
        assert not names and not comments
        return groups


class Schema:
    """What sql/ makes, read as text."""

    def __init__(self):
        files = [read("sql", name) for name in sorted(os.listdir(os.path.join(TOP, "sql")))]
        self.text = re.sub(r"(?m)--.*$", "", "\n".join(files))

    def roles(self):
        return re.findall(r"'(boxhaul_\w+)'", " ".join(re.findall(r"(?s)FOREACH r IN ARRAY ARRAY\[(.*?)\]", self.text)))

    def columns(self, name):
        """In the order in which they came."""
        if name == "messages":
            selected = re.search(r"VIEW boxhaul\.messages AS\nSELECT (.*?)\n  FROM", self.text, re.S).group(1)
            return [re.split(r"\W+", part)[-1] for part in re.split(r",(?![^(]*\))", selected) for part in [part.strip()]]
        body = re.search(rf"CREATE TABLE IF NOT EXISTS boxhaul\.{name} \(\n(.*?)\n\)", self.text, re.S).group(1)
        added = re.findall(rf"ALTER TABLE boxhaul\.{name} ADD COLUMN IF NOT EXISTS\s+(\w+)", self.text)
        return re.findall(r"(?m)^    ([a-z_]+) ", body) + added

    def functions(self, name):
        """The calls there are, as they stand in the SQL; those that return a value, or a table."""
        found = re.findall(rf"CREATE OR REPLACE FUNCTION boxhaul\.({name}\([^)]*\))\s+RETURNS (TABLE \([^)]*\)|(?:SETOF )?[\w.]+(?:\[\])?)",
                           self.text)
        assert found, name
        return list(dict.fromkeys((re.sub(r"\s+", " ", call), re.sub(r"\s+", " ", what)) for call, what in found))

    def grants(self, role):
        """{object: {right}}; columns belong to the right, a function's arguments do not count."""
        rights = {}
        for what, whom in re.findall(r"\bGRANT ((?:[^;'])*?) TO ([\w, ]+);", self.text):
            if role not in whom.split(", "):
                continue
            words, things = re.fullmatch(r"(.*?) ON (.*)", re.sub(r"\s+", " ", what)).groups()
            kind = things.split()[0] if things.split()[0].isupper() else "TABLE"
            for thing in re.findall(r"boxhaul\.\w+|(?<=SCHEMA )boxhaul", things):
                rights.setdefault(thing if kind != "SCHEMA" else "", set()).add(words)
        return rights


# --- mdoc ---

def literal(word):
    """As arguments of a macro, or a line of text: nothing in it is punctuation or a macro's name."""
    plain = word.replace("\\", "\\e").replace('"', "\\(dq").replace("-", "\\-").replace("`", "\\(ga")
    return re.sub(r"(?<!\S)(?=(?:[][().,:;?!|]|[A-Z%][a-z0-9]{1,2})(?!\S))", r"\\&", plain)


def text(words):
    """Each sentence on a line of its own; `this` is literal."""
    lines = []
    for sentence in re.split(r"(?<=[.:;]) (?=[A-Z`])", " ".join(words.split())):
        for i, part in enumerate(re.split(r"`([^`]*)`", sentence)):
            if i % 2:
                lines.append(f".Ql {literal(part)}")
                continue
            if i and (closing := re.match(r"[.,:;?)]+", part)):
                lines[-1] += "".join(f" {c}" for c in closing.group())
                part = part[closing.end():]
            lines += [("\\&" if line[0] in ".'" else "") + line.replace("\\", "\\e")
                      for line in textwrap.wrap(part.strip(), 78, break_long_words=False, break_on_hyphens=False)]
    return lines


def sentence(words):
    """The same with a capital and a full stop."""
    return text(words[0].upper() + words[1:] + ("" if words[-1] in ".?" else "."))


def tagged(rows, width="Ds"):
    """rows: [(the arguments of .It, [lines])]; with a width they stand in two columns."""
    lines = [f".Bl -tag -width {width}" + (" -compact" if width != "Ds" else "")]
    for head, below in rows:
        lines += [f".It {head}", *below]
    return [*lines, ".El"]


# --- the lists ---

def list_commands(program):
    rows = []
    for words, argument, summary, more, options in program.commands():
        head = [f"Xo\n.Ic {literal(words)}"]
        for name, value, _ in options:
            if name == "config":
                head.append(".Op Fl c Ar FILE | NAME")
            elif name != "help":
                head.append(f".Op Fl \\-{literal(name)}" + (f" Ar {value}" if value else ""))
        if argument:
            head.append(".Op Ar " + argument[1:-1].replace("...", " ...") if argument[0] == "[" else f".Ar {argument}")
        rows.append(("\n".join([*head, ".Xc"]), sentence(summary) + text(more)))
    return tagged(rows)


def list_options(program):
    known = {}  # option: what it means: the commands that say so
    for words, _, _, _, options in program.commands():
        for name, value, help_ in options:
            known.setdefault((name, value), {}).setdefault(help_, []).append(f"`{words}`")
    short = {"config": "Fl c , ", "help": "Fl h , "}
    return tagged([(f"{short.get(name, '')}Fl \\-{literal(name)}" + (f" Ar {value}" if value else ""), sentence(meaning(said)))
                   for (name, value), said in known.items()])


def meaning(said):
    """What most commands say, and then the others."""
    first, *others = sorted(said, key=lambda help_: -len(said[help_]))
    return "; for ".join([first, *(f"{', '.join(said[help_])}: {help_}" for help_ in others)])


def list_statuses(program):
    return tagged([(number, text(f"{what}.")) for number, what in program.statuses()])


def list_settings(program):
    lines = []
    for group, about, settings in program.settings():
        lines += [f".Ss {group}" if group else ".Ss \\&At the top of the file"] + (text(about) if about else [])
        rows = []
        for path, value, help_ in settings:
            example = re.search(r"(Default: none\. Example:|Required; for example:)$", help_)
            below = text(help_[:example.start()] if example else help_)
            if example:
                below += text(example.group().replace("Example:", "For example:"))
                below += [f".Ql {literal(value)}"]
            rows.append((f"Ic {path}" + ("" if example else f" No = {literal(value)}"), below))
        lines += tagged(rows)
    return lines


def metrics():
    """[(name, type, help, what the samples differ in, or "")]"""
    table = re.search(r"const struct figure figures\[\] = \{\n(.*?)\n\};", read("relay", "watch", "figures.c"), re.S).group(1)
    found = re.findall(r'(?m)^\t(GAUGE|COUNTER|HISTOGRAM)\("(\w+)", \w+, "((?:[^"\\]|\\.)*)", (.*)\)$', table)
    assert len(found) == len(re.findall(r"(?m)^\t", table)), "a line of the table of figures is not understood"
    for kind, name, help_, where in found:
        label = re.match(r'(?:EACH\(|\.label = )"(\w+)"', where)
        yield name, kind.lower(), help_, ("stream" if where.startswith("OF_STREAM") else "subscription" if where.startswith("OF_SUBSCRIPTION")
                                          else "capture" if where.startswith("OF_CAPTURE")
                                          else label[1] if label else "")


def list_metrics(_):
    return tagged([(f"Ic {name} No ({kind}" + (f", by {label})" if label else ")"), text(help_))
                   for name, kind, help_, label in metrics()])


def alerts():
    """[(name, severity, section)]"""
    rules = read("packaging", "prometheus", "boxhaul.rules.yml")
    found = re.findall(r'- alert: (\w+)\n(?:(?!      - alert).*\n)*?.*severity: (\w+) \}\n(?:(?!      - alert).*\n)*?'
                       r' +runbook: "boxhaul-runbook\(7\): ([a-z-]+)"', rules)
    assert len(found) == rules.count("- alert:"), "an alert has no severity, or no section of the runbook"
    return found


def list_alerts(_):
    return tagged([(f"Ic {name}", [f".Sx {section}", f"({severity})"]) for name, severity, section in alerts()], "BoxhaulExceptionsPileUp")


def list_roles(_):
    schema, lines = Schema(), []
    for role in schema.roles():
        rows = [(f"Ic {thing}", text(", ".join(sorted(rights)))) for thing, rights in schema.grants(role).items() if thing]
        lines += [f".Ss {role}", *tagged(rows, "boxhaul.schema_version")]
    return lines


def list_columns(_, name):
    return text("Columns: " + ", ".join(Schema().columns(name)) + ".")


def list_functions(_, name):
    lines = [line for call, what in Schema().functions(name)
             for line in textwrap.wrap(f"{call}: {what}", 66, subsequent_indent="    ")]
    return [".Bd -literal -compact", *(literal(line) for line in lines), ".Ed"]


def list_source(_, file, *names):
    """Functions of an example, as they stand in it: Python's or Go's."""
    code = read("packaging", "examples", "saga", file)
    body = (r"(?ms)^def {}\(.*?(?=^\S|\Z)" if file.endswith(".py") else r"(?ms)^func {}\(.*?^\}}$").format
    found = [re.search(body(name), code) for name in names]
    assert all(found), f"{file} has not all of {names}"
    lines = "\n\n".join(match.group().strip() for match in found).expandtabs(4).split("\n")
    assert max(map(len, lines)) <= 75, f"{file}: a line is too long for the manual: {max(lines, key=len)}"
    return [".Bd -literal", *(literal(line) for line in lines), ".Ed"]


def wanted(program, name):
    what, *more = name.split()
    return "\n".join(globals()[f"list_{what}"](program, *more)) + "\n"


# --- the checks ---

def complaints(program):
    text_of = {page: read("packaging", "man", page) for page in PAGES}
    for stray in sorted(set(os.listdir(MAN)) ^ set(PAGES)):
        yield f"packaging/man/{stray}: tests/manual.py and the directory do not agree about it"
    lists = []
    for page, have in text_of.items():
        for name, body in BLOCK.findall(have):
            lists.append(name)
            diff = difflib.unified_diff(body.splitlines(), wanted(program, name).splitlines(), page, "the program", lineterm="", n=0)
            yield from list(diff)
    for name in ("commands", "options", "statuses", "settings", "metrics", "alerts", "roles"):
        if lists.count(name) != 1:
            yield f"the list of {name} does not stand in the manual once"
    yield from sections(text_of["boxhaul-runbook.7"])
    yield from quotations(text_of["boxhaul-runbook.7"])
    yield from examples(program, text_of)
    yield from tables(text_of["boxhaul-sql.7"])
    for page, have in text_of.items():
        for name, number in re.findall(r"(?m)^\.Xr (boxhaul\S*) (\d)", have):
            if f"{name}.{number}" not in PAGES:
                yield f"{page} refers to {name}({number}), which does not exist"
        if page not in read("Makefile.am"):
            yield f"{page} is not installed"


def sections(runbook):
    """One for each section that an alert names, and no other."""
    have = set(re.findall(r"(?m)^\.Ss (\S+)$", runbook))
    for section in sorted(have ^ {section for _, _, section in alerts()}):
        yield f"boxhaul-runbook.7: the section {section} and the alerts do not agree"


def quotations(runbook):
    """Whatever the runbook quotes as said by the relay is a text of the program or of the SQL; ... and N stand for what differs."""
    code = "".join(read(os.path.relpath(os.path.join(where, name), TOP)) for folder in ("relay", "sql")
                   for where, _, names in os.walk(os.path.join(TOP, folder)) for name in names if name.endswith((".c", ".sql")))
    code = re.sub(r'" PRI\w+\s+"|"\s+"', "", code)
    quoted = re.findall(r"(?m)^\.It ((?:PostgreSQL |[a-z.G]).*)$", BLOCK.sub("", runbook))
    if len(quoted) < 10:
        yield "boxhaul-runbook.7 has lost its quotations, or this test cannot find them any more"
    for part in re.split(r"\.\.\.| [NMS]\b|\n", "\n".join(quoted)):
        if len(part) > 10 and part.strip() not in code:
            yield f"boxhaul-runbook.7: the relay does not say `{part.strip()}`"


def examples(program, pages):
    """`boxhaul WORDS --option` in any page is a command and an option that it takes; boxhaul.NAME exists in the schema."""
    known = {words: {name for name, *_ in options} for words, _, _, _, options in program.commands()}
    schema = Schema()
    made = set(re.findall(r"\bboxhaul\.(\w+)", schema.text))
    for page, have in pages.items():
        plain = have.replace("\\-", "-").replace("\\(dq", '"').replace("\\&", "")
        for line in re.findall(r"(?m)^(?:\.(?:Ql|Dl) )?(?:# |\$ )?boxhaul ([a-z].*)$", plain):
            words = line.split()
            command = next((c for c in (" ".join(words[:2]), words[0]) if c in known), None)
            if command is None:
                yield f"{page}: there is no command `boxhaul {line}`"
                continue
            for option in re.findall(r" --([a-z-]+)", line):
                if option not in known[command]:
                    yield f"{page}: boxhaul {command} does not take --{option}"
        for name in re.findall(r"\bboxhaul\.([a-z]\w*)", plain):
            if name not in made | {"conf", "target", "service", "rules", "json", "outbox_id_seq"}:
                yield f"{page}: there is no boxhaul.{name} in sql/"


def tables(page):
    """Whatever a user may reach in the schema has its paragraph, and nothing else has."""
    schema = Schema()
    granted = {thing for role in [*schema.roles(), "PUBLIC"] for thing in schema.grants(role) if thing}
    told = set(re.findall(r"boxhaul\.\w+", " ".join(re.findall(r"(?m)^\.It Ic (.*)$", BLOCK.sub("", page)))))
    for thing in sorted(told ^ granted):
        yield f"boxhaul-sql.7: {thing} is {'not granted to anybody' if thing in told else 'not described'}"


def lint():
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *PAGES], cwd=MAN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    return done.stdout.splitlines()


def main():
    program = Program(os.path.abspath(sys.argv[1]))
    if sys.argv[2:] == ["--write"]:
        for page in PAGES:
            path = os.path.join(MAN, page)
            have = read("packaging", "man", page)
            made = BLOCK.sub(lambda block: f'.\\" list: {block[1]}\n{wanted(program, block[1])}.\\" end of list', have)
            with open(path, "w", encoding="utf-8") as f:
                f.write(made)
    found = [*complaints(program), *lint(), *remedies.complaints()]
    if found:
        sys.exit("\n".join(found) + "\n\nThe lists are made anew by  tests/manual.py PROGRAM --write")
    print(f"{len(PAGES)} pages of the manual say what the program says")


if __name__ == "__main__":
    main()
