"""Executes every notebook and holds its headlines against the committed ones.

    python notebooks/check.py           # as CI does: nothing is written
    python notebooks/check.py --write   # after new results: keeps the executed notebooks
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent


def headlines(notebook):
    """The lines that begin with `headline`, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["text"] for output in outputs if output.output_type == "stream"]
    return [line for text in texts for line in text.splitlines() if line.startswith("headline ")]


def main():
    write = sys.argv[1:] == ["--write"]
    changed = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        before = headlines(notebook)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
        after = headlines(notebook)
        print(f"{path.name}: {len(after)} headlines")
        if not after:
            changed.append(f"{path.name}: expected headlines, found none")
        if write:
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)
            nbformat.write(notebook, path)
        elif before != after:
            changed.append(f"{path.name}: expected {before}, found {after}")
    sys.exit("\n".join(changed) or 0)


if __name__ == "__main__":
    main()
