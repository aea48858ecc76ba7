#!/usr/bin/env python3
"""Prints the largest circle of imports in every crate of the workspace. Exits with 1 when a circle has more than three modules.

    .ci/circles.py [REPOSITORY]

A module is a source file. It imports another one when it names it by `crate::`, or in a `use` by `super::` or `self::`, or when it
re-exports from it. Modules inside a file, comments, tests and what a module takes from the modules that enclose it do not count.
"""

import re
import sys
import tomllib
from pathlib import Path

MOST = 3


def code(file):
    """A file without comments and without the tests at its end, on one line."""
    text = re.sub(r"//[^\n]*", "", file.read_text(encoding="utf-8"))
    text = re.split(r"#\[cfg\(test\)\]\s*mod ", text)[0]
    return " ".join(text.split())


def modules(src):
    """The code of every module by its path, a tuple of names; the crate itself is the empty one."""
    found = {}
    for file in sorted(src.rglob("*.rs")):
        *parents, name = file.relative_to(src).with_suffix("").parts
        path = (*parents,) if name in ("lib", "main", "mod") else (*parents, name)
        found[path] = found.get(path, "") + code(file)
    return found


def expanded(tree):
    """The paths of a `use` tree: `a::{b, c}` becomes `a::b` and `a::c`."""
    while braces := re.search(r"([\w:]*)\{([^{}]*)\}", tree):
        paths = [braces[1] + item.strip() for item in braces[2].split(",") if item.strip()]
        tree = tree[: braces.start()] + ",".join(paths) + tree[braces.end() :]
    return [path.strip().split(" as ")[0] for path in tree.split(",")]


def paths(text):
    """Every path to another module that the code names."""
    trees = re.findall(r"\buse ((?:crate|super|self)::[^;]*);", text)
    exports = re.findall(r"\bpub(?:\([^)]*\))? use (?!crate|super|self)(\w+::[^;]*);", text)
    trees += ["self::" + tree for tree in exports]
    return [path for tree in trees for path in expanded(tree)] + re.findall(r"\bcrate(?:::\w+)+", text)


def target(path, module, known):
    """The module that a path leads to from another module."""
    names = path.split("::")
    at = () if names[0] == "crate" else module
    while names and names[0] in ("crate", "super", "self"):
        at = at[:-1] if names.pop(0) == "super" else at
    while names and (*at, names[0]) in known:
        at = (*at, names.pop(0))
    return at


def imports(known):
    """The modules that each module imports, but for itself and those that enclose it."""
    targets = {module: {target(path, module, known) for path in paths(text)} for module, text in known.items() if module}
    return {module: {other for other in found if other != module[: len(other)]} for module, found in targets.items()}


def reached(start, edges):
    """Every module that a module imports, directly or through others."""
    found, left = set(), [start]
    while left:
        new = edges[left.pop()] - found
        found |= new
        left += new
    return found


def largest_circle(edges):
    """The most modules that all import each other, directly or through others; a module alone is a circle of one."""
    reach = {module: reached(module, edges) for module in edges}
    circles = [[module, *(other for other in reach[module] if module in reach[other] and other != module)] for module in edges]
    return sorted(max(circles, key=len, default=[]))


def main():
    root = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parent.parent
    members = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["members"]
    most = 0
    for member in members:
        known = modules(root / member / "src")
        circle = largest_circle(imports(known))
        names = ": " + " ".join("::".join(module) for module in circle) if len(circle) > 1 else ""
        print(f"{member}: {len(known)} modules, largest circle {len(circle)}{names}")
        most = max(most, len(circle))
    if most > MOST:
        sys.exit(f"a circle has {most} modules, expected at most {MOST}")


if __name__ == "__main__":
    main()
