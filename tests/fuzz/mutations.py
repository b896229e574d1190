"""Random inputs: the corpora, cut, spliced and changed."""

import functools
from random import Random

from tests.fuzz import corpus, wire

LARGEST_SEED = 2**16  # bytes; larger ones are slow to send, and reach no other code
INTERESTING = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 4, b"\r\n", b"\r\n\r\n", b"--", b'"')
CONTENT_TYPES = (
    b"image/jpeg",
    b"image/png",
    b"application/octet-stream",
    b"image/svg+xml",
    b"text/html",
    b"",
    b"a/b;=",
)
IMAGES = (corpus.HARMLESS, corpus.NOT_IMAGES, corpus.BOMBS, corpus.BROKEN, corpus.TRUNCATED, corpus.GARBAGE)
REQUESTS = (wire.FILE_NAMES, wire.ODD, wire.REFUSED, wire.MALFORMED, wire.SMUGGLING)


@functools.cache
def images() -> list[bytes]:
    """Make the small images, good and bad."""
    return _small(IMAGES)


@functools.cache
def requests() -> list[bytes]:
    """Make the small requests, good and bad."""
    return _small(REQUESTS)


def _small(corpora: tuple[corpus.Corpus, ...]) -> list[bytes]:
    made = (make() for makes in corpora for make in makes.values())
    return [data for data in made if len(data) <= LARGEST_SEED]


def mutated(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change some of the bytes, mostly of the first, where the headers are."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        place = random.randrange(min(len(changed), random.choice((64, 1024, LARGEST_SEED))) + 1)
        match random.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << random.randrange(8)
            case 1:
                changed[place : place + 1] = random.randbytes(1)
            case 2:
                value = random.choice(INTERESTING)
                changed[place : place + len(value)] = value
            case 3:
                del changed[place : place + random.randrange(1, 100)]
            case 4:
                changed[place:place] = changed[place : place + random.randrange(1, 100)] * random.randrange(1, 10)
            case 5 if random.random() < 0.2:
                del changed[place:]
            case 6 if random.random() < 0.2:
                changed[place:] = random.choice(others)[place:]
    return bytes(changed)


def image(random: Random) -> bytes:
    """Make a damaged image."""
    return mutated(random, random.choice(images()), images())


def request(random: Random) -> bytes:
    """Make a request: a damaged image sent in any way, a damaged form, damaged chunks, or a damaged head."""
    match random.randrange(10):
        case 0:
            return mutated(random, random.choice(requests()), requests())
        case 1:
            chunks = wire.pieces(image(random), random.choice((9, 500, LARGEST_SEED)))
            return wire.chunked(mutated(random, chunks, [chunks]))
        case 2:
            parts = wire.part(wire.FILE, image(random)) * random.randint(1, 3) + b"--frontier--\r\n"
            return wire.post(mutated(random, parts, requests()), kind=wire.FORM)
        case 3 | 4:
            return wire.form(wire.part(wire.FILE, image(random)))
        case _:
            return wire.post(image(random), kind=random.choice(CONTENT_TYPES))
