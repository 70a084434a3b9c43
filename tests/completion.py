#!/usr/bin/python3
"""tests/completion.py PROGRAM [--write]: what bash, zsh and fish offer is what the program takes.

The lists in packaging/completion/ stand between "# list" and "# end of list" and are made of the program's table of commands. This
compares them, and fails with the difference; --write puts them in."""

import difflib
import os
import re
import sys

from manual import TOP, Program

DIRECTORY = os.path.join(TOP, "packaging", "completion")
BLOCK = re.compile(r"(?m)^([ \t]*)# list\n(?:.*\n)*?\1# end of list$")


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


class Bash:
    file = "boxhaul"

    @staticmethod
    def lines(commands):
        yield "local -A options=("
        for words, _, _, _, rows in commands:
            yield f"\t[{words}]={quoted(' '.join('--' + name for name, _, _ in rows if name != 'help'))}"
        yield ")"
        valued = sorted({f"--{name}" for *_, rows in commands for name, value, _ in rows if value})
        yield f"local valued=' -c {' '.join(valued)} ' # options that a value follows"


class Zsh:
    file = "_boxhaul"

    @staticmethod
    def described(pairs):
        return [quoted(f"{name}:{text}") for name, text in pairs]

    @staticmethod
    def array(begin, items, end):
        return [begin, *(f"\t{item}" for item in items), end]

    @staticmethod
    def option(name, value, text):
        text = re.sub(r"([\[\]:\\])", r"\\\1", text)
        after = f":{value}:" + ("_files" if value == "FILE" else "") if value else ""
        if name == "config":
            return "'(-c --config)'{-c,--config}" + quoted(f"[{text}]{after}")
        return quoted(f"--{name}[{text}]{after}")

    @classmethod
    def lines(cls, commands):
        firsts = {}
        for words, _, summary, _, _ in commands:
            first = words.split()[0]
            firsts[first] = summary if " " not in words else f"more commands: {first} ..."
        yield from cls.array("firsts=(", cls.described(firsts.items()), ")")
        yield "case $words[2] in"
        for first in (f for f in firsts if any(words.startswith(f"{f} ") for words, *_ in commands)):
            seconds = [(words.split()[1], summary) for words, _, summary, _, _ in commands if words.startswith(f"{first} ")]
            yield from cls.array(f"({first}) seconds=(", cls.described(seconds), ") ;;")
        yield "esac"
        yield 'case "$words[2]${seconds:+ $words[3]}" in'
        for words, _, _, _, rows in commands:
            rest = ["'*:instance:_boxhaul_instances'"] if any(name == "config" for name, _, _ in rows) else []
            yield from cls.array(f"({quoted(words)}) options=(", [cls.option(*row) for row in rows] + rest, ") ;;")
        yield "esac"


class Fish:
    file = "boxhaul.fish"

    @staticmethod
    def at(words):
        return f"__boxhaul_is {words}"

    @classmethod
    def lines(cls, commands):
        groups = set()
        for words, _, summary, _, rows in commands:
            first, _, second = words.partition(" ")
            if second and first not in groups:
                yield f"complete -c boxhaul -n __boxhaul_is -a {first} -d {quoted('more commands')}"
                groups.add(first)
            where = f"-n {quoted(cls.at(first))}" if second else "-n __boxhaul_is"
            yield f"complete -c boxhaul {where} -a {second or first} -d {quoted(summary)}"
            for name, value, text in rows:
                needs = (" -r -F" if value == "FILE" else " -x") if value else ""
                short = " -s c" if name == "config" else ""
                yield f"complete -c boxhaul -n {quoted(cls.at(words))} -l {name}{short}{needs} -d {quoted(text)}"
                if name == "config":
                    yield f"complete -c boxhaul -n {quoted(cls.at(words))} -a '(__boxhaul_instances)'"


def made(shell, commands):
    """The file with its list made anew, and as it is."""
    with open(os.path.join(DIRECTORY, shell.file), encoding="utf-8") as f:
        text = f.read()
    assert BLOCK.search(text), shell.file

    def fill(match):
        indent = match[1]
        return "\n".join([f"{indent}# list", *(indent + line for line in shell.lines(commands)), f"{indent}# end of list"])
    return BLOCK.sub(fill, text), text


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    commands, wrong = Program(sys.argv[1]).commands(), 0
    for shell in (Bash, Zsh, Fish):
        new, old = made(shell, commands)
        if "--write" in sys.argv:
            with open(os.path.join(DIRECTORY, shell.file), "w", encoding="utf-8") as f:
                f.write(new)
        elif new != old:
            sys.stderr.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), shell.file, "the program", n=0))
            wrong += 1
    if wrong:
        sys.exit("\nThe lists are made anew by  tests/completion.py PROGRAM --write")
    print("bash, zsh and fish offer what the program takes")


if __name__ == "__main__":
    main()
