"""Scores by LongBench's own metrics.py: rows of random and hostile answers for the tests of the Rust ones.

    pip install rouge==1.0.1 fuzzywuzzy==0.18.0 jieba     # without python-Levenshtein, which changes fuzzywuzzy
    python longbench_metrics.py PATH/TO/LongBench/metrics.py > longbench_metrics.csv
"""

import csv
import importlib.util
import random
import sys

WORDS = "the a an whale sea ship Sea WHALE captain's sailed sailed, far, over old Ünïcödé straße 海 ٣ 42 a\u0301 x_1 (the)".split()
SPACES = [" ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\x1f", ". ", ".", ". . ", "...", "—"]
LINES = ["    return x + 1", "for i in range(10):", "# comment", "// note", "```python", "", "self.items.append(item)",
         "x = y  # why", "int main(void) {", "naïve = “quoted”"]
CLASSES = ["Abbreviation", "Abbreviation expression", "expression", "Country", "Other country", "Equivalent term", "term",
           "Food", "Individual"]


def text(rng, length):
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(length))


def texts(rng):
    yield from [("", ""), ("", "the sea"), ("the sea", ""), (".", "."), (" ", "."), (" ", " "), ("...", "sea"),
                ("sea. . ship.", "ship. .sea"), ("a an the", "the"), ("The whale!", "whale"), ("ΟΔΟΣ", "οδος"),
                ("b a c a d", "a b a c a"), ("a b c. d e f", "a d. b e. c f")]
    for _ in range(40):
        longest = rng.choice([3, 8, 30, 60])
        yield text(rng, rng.randint(1, longest)), text(rng, rng.randint(1, longest))


def code(rng):
    lines = lambda: "\n".join(rng.choice(LINES) for _ in range(rng.randint(1, 4)))
    letters = lambda alphabet, length: "".join(rng.choice(alphabet) for _ in range(length))
    yield from [("", ""), ("", "x"), ("x", ""), ("# x", ""), ("\n\nx = 1\ny", "x = 1"), ("`x`\n//\nx", "x")]
    for _ in range(16):
        yield lines(), rng.choice(LINES)
    for length in [2, 5, 20, 60, 199, 200, 201, 250, 400]:
        for alphabet in ["ab", "abcdefgh(). ", "".join(map(chr, range(0x4e00, 0x4e90)))]:
            yield letters(alphabet, rng.randint(1, 2 * length)), letters(alphabet, length)


def numbers(rng):
    yield from [("", "3"), ("three", "3"), ("03", "3"), ("3 3 3.", "3"), ("٣", "3"), ("½ 3²", "3"), ("x3y33", "3")]
    for _ in range(12):
        yield " ".join(rng.choice(["1", "2", "12", "paragraph", "Paragraph 2,", "-1"]) for _ in range(6)), rng.choice("12")


def classes(rng):
    yield from [("", "Food"), ("Food", "food")]
    for _ in range(30):
        yield " ".join(rng.sample(CLASSES, rng.randint(1, 6))), rng.choice(CLASSES)


def main():
    spec = importlib.util.spec_from_file_location("metrics", sys.argv[1])
    metrics = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(metrics)
    rng = random.Random(0)
    rows = [("qa-f1", answer, truth, metrics.qa_f1_score(answer, truth)) for answer, truth in texts(rng)]
    rows += [("rouge-l", answer, truth, metrics.rouge_score(answer, truth)) for answer, truth in texts(rng)]
    rows += [("code-similarity", answer, truth, metrics.code_sim_score(answer, truth)) for answer, truth in code(rng)]
    rows += [("count", answer, truth, metrics.count_score(answer, truth)) for answer, truth in numbers(rng)]
    for answer, number in numbers(rng):
        truth = f"Paragraph {number}"
        rows.append(("retrieval", answer, truth, metrics.retrieval_score(answer, truth)))
    for answer, truth in classes(rng):
        score = metrics.classification_score(answer, truth, all_classes=CLASSES)
        rows.append(("classification", answer, truth, score, "|".join(CLASSES)))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["metric", "answer", "reference", "score", "classes"])
    writer.writerows((*row, "")[:5] for row in rows)


main()
