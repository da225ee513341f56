"""Which pairs are worth a look, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.checking.pairs import Pair

# What may be found, the worst first.
REFUSED, LEAK, PARTNER, ANSWERS = "refused", "leak", "wrong partner?", "two answers"
MISALIGNED, SAME, DUPLICATE = "misaligned", "no change", "duplicate"
OUTLIER, PROFILE, CHANGED = "outlier", "profile", "changed"
KINDS = (REFUSED, LEAK, PARTNER, ANSWERS, MISALIGNED, SAME, DUPLICATE, OUTLIER, PROFILE, CHANGED)

OFF_PX = 0.5  # pairs that are less off each other are aligned
MEASURED_PX = 0.1  # of what is measured, which is smaller than the picture
USUALLY = 0.8  # of the pairs are alike, or of one form: one that is not may be a mistake
MOSTLY = 0.5  # the same, of few pairs
SURELY, HARDLY = 0.97, 0.9  # the products of `Half.small` with a better partner, and with its own
RARELY = 0.2  # of the pairs are alike: these are so by chance
NEARLY = 0.995  # from here on, the product of `Half.small` means the same picture
FEW = 8  # with fewer pairs, nothing is unusual
UNUSUAL = 6.0  # robust standard deviations from the median


class Finding(NamedTuple):
    """Why a pair is worth a look; among those of a kind, the larger `weight` is worse."""

    kind: str
    text: str
    weight: float = 0.0


Findings = dict[int, list[Finding]]  # by the place of the pair


def settled(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, all of them taken as not alike where hardly any seems to be."""
    alike = sum(pair.move is not None for pair in pairs)
    if alike >= RARELY * len(pairs):
        return list(pairs)
    return [pair._replace(move=None) for pair in pairs]


def find_all(pairs: Sequence[Pair], others: Sequence[Pair], input_place: int) -> Findings:
    """The findings of each pair that has any.

    Args:
        others: the pairs of other phases.
        input_place: 0 where A is the input, 1 where B is.
    """
    found: Findings = defaultdict(list)
    copies = of_copies(pairs, others, input_place)
    for place, finding in chain(of_single(pairs), of_partners(pairs), of_outliers(pairs), copies):
        found[place].append(finding)
    for findings in found.values():
        findings.sort(key=lambda finding: KINDS.index(finding.kind))
    return dict(found)


def worst_first(number: int, found: Findings) -> list[int]:
    """The places of so many pairs."""

    def rank(place: int) -> tuple[float, float, int]:
        kind, _, weight = found[place][0] if place in found else ("", "", 0.0)
        return KINDS.index(kind) if kind else len(KINDS), -weight, place

    return sorted(range(number), key=rank)


def of_single(pairs: Sequence[Pair]) -> Iterator[tuple[int, Finding]]:
    """What a pair shows by itself."""
    for place, pair in enumerate(pairs):
        if pair.refused:
            yield place, Finding(REFUSED, pair.refused)
        for line in pair.noticed.lines.values():
            yield place, Finding(CHANGED, line)
        if not pair.halves:
            continue
        a, b = pair.halves
        if a.size != b.size and not pair.noticed.misshapen:
            sizes = "{}x{} and {}x{}".format(*a.size, *b.size)
            yield (
                place,
                Finding(
                    CHANGED, f"A and B are {sizes}: the larger has detail that is not in the other"
                ),
            )
        if pair.move and pair.move.mean >= max(OFF_PX, MEASURED_PX * pair.move.larger):
            yield place, Finding(MISALIGNED, f"B is off A: {pair.move}", pair.move.mean)
        if a.digest == b.digest:
            yield place, Finding(SAME, "A and B are the same picture")
        for tagged, plain, names in ((a, b, "AB"), (b, a, "BA")):
            if tagged.facts.converts and not plain.facts.profile:
                told = f"{names[0]} has the profile {tagged.facts.profile or 'CMYK'}"
                yield (
                    place,
                    Finding(
                        PROFILE,
                        f"{told}, and {names[1]} has none, so it is taken for sRGB: if it was "
                        "lost when the picture was saved, colours differ",
                    ),
                )


def of_partners(pairs: Sequence[Pair]) -> Iterator[tuple[int, Finding]]:
    """Pairs that are not alike where nearly all others are, or whose A looks like another's B."""
    # Those that are stretched are off each other at any rate, and told of.
    read = [i for i, pair in enumerate(pairs) if pair.halves and not pair.noticed.misshapen]
    unlike = [place for place in read if pairs[place].move is None]
    share = USUALLY if len(read) >= FEW else MOSTLY
    are_unusual = len(read) > 2 and len(unlike) <= (1 - share) * len(read)
    a, b = (np.array([pairs[place].halves[side].small for place in read]) for side in (0, 1))
    for place in unlike:
        alike = b @ a[read.index(place)]
        best = int(alike.argmax())
        if alike[best] >= SURELY and alike[read.index(place)] <= HARDLY:
            text = f"A looks like the B of {Path(pairs[read[best]].files[0]).name}"
            yield place, Finding(PARTNER, text, 255)
        elif are_unusual:
            text = "A and B do not show the same thing, unlike the other pairs"
            yield place, Finding(PARTNER, text, pairs[place].difference)


def of_outliers(pairs: Sequence[Pair]) -> Iterator[tuple[int, Finding]]:
    """Pairs far from the others, by medians, which outliers do not move, or of another form.

    Size and difference count by their logarithm: twice as much is as unusual as half.
    """
    read = [place for place, pair in enumerate(pairs) if pair.halves]
    if len(read) < FEW:
        return
    for side, name in enumerate("AB"):
        halves = [pairs[place].halves[side] for place in read]
        pixels = np.array([np.prod(half.size) for half in halves], float)
        for at in unusual(np.log2(pixels), least=0.2):
            (width, height), usual = halves[at].size, np.median(pixels) / 1e6
            text = f"{name} is {width}x{height}; most have about {usual:.2g} megapixels"
            yield read[at], Finding(OUTLIER, text)
        forms = [f"{half.facts.colours}, {half.facts.bits}" for half in halves]
        usual_form, often = Counter(forms).most_common(1)[0]
        if often >= USUALLY * len(read):
            for at in (at for at, form in enumerate(forms) if form != usual_form):
                yield read[at], Finding(OUTLIER, f"{name} is {forms[at]}; most are {usual_form}")
        levels = np.array([half.brightness for half in halves])
        for at in unusual(levels, least=5):
            text = f"the brightness of {name} is {levels[at]:.0f} of 255; that of most about "
            yield read[at], Finding(OUTLIER, f"{text}{np.median(levels):.0f}")
    apart = np.array([pairs[place].difference for place in read])
    for at in unusual(np.log2(apart + 1), least=0.2):
        text = f"A and B differ by {apart[at]:.1f} levels of 255; most pairs by about "
        yield read[at], Finding(OUTLIER, f"{text}{np.median(apart):.1f}")


def unusual(values: np.ndarray, least: float) -> list[int]:
    """The places of values far from the median, by their median distance from it (MAD).

    `least` is taken for a standard deviation that is smaller.
    """
    distances = np.abs(values - np.median(values))
    deviation = max(1.4826 * float(np.median(distances)), least)  # for a normal distribution
    return np.flatnonzero(distances > UNUSUAL * deviation).tolist()


def of_copies(
    pairs: Sequence[Pair], others: Sequence[Pair], input_place: int
) -> Iterator[tuple[int, Finding]]:
    """Pictures that occur in several pairs, of this phase or others."""
    every = [pair for pair in (*pairs, *others) if pair.halves]
    places = [place for place, pair in enumerate(pairs) if pair.halves]
    digests = np.array([[half.digest for half in pair.halves] for pair in every])
    small = [np.array([pair.halves[side].small for pair in every]) for side in (0, 1)]
    for row, place in enumerate(places):
        same = digests == digests[row]
        near = np.minimum(*(vectors @ vectors[row] for vectors in small)) > NEARLY
        alike: dict[tuple[str, str], list[str]] = defaultdict(list)
        for at in np.flatnonzero(same.any(1) | near).tolist():
            if at == row:
                continue
            if at >= len(places):
                what = LEAK, "what it shows is also in"
            elif same[at].all():
                what = DUPLICATE, "the same pictures as"
            elif near[at]:
                what = DUPLICATE, "looks like"
            elif same[at, input_place]:
                what = ANSWERS, "the same input, but another target, as"
            else:
                continue
            alike[what].append("/".join(Path(every[at].files[0]).parts[-2:]))
        for (kind, words), names in alike.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield place, Finding(kind, f"{words} {', '.join(names[:3])}{more}", len(names))
