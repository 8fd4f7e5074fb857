"""Which files of a folder are meant: patterns as in a `.gitignore`, relative to the root of the source.

A file is taken when it matches an include pattern (or there are none), no exclude pattern, and nothing on its
way from the root is hidden or excluded. As in git, nothing comes back from below an excluded folder; a later
pattern that begins with `!` undoes earlier ones of its own list for everything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pathspec import GitIgnoreSpec

from latewood.ingest.sources.uris import SourceError

# What Python's regular expressions may one day read otherwise, POSIX classes among it.
_UNSURE_SET = re.compile(r"\[[^\]]*(?:\[|--|&&|~~|\|\|)")


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a folder is to be taken. A file that is named itself, not found in a folder, is always taken.

    Attributes:
        include: patterns; when there are any, only files that match are taken.
        exclude: patterns of files and folders to leave out; such folders are not looked into.
        hidden: take names that begin with a dot, too.

    Raises:
        SourceError: `pattern_invalid`, a pattern that matches nothing or cannot be read.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    _included: GitIgnoreSpec | None = field(init=False, repr=False, compare=False, default=None)
    _excluded: GitIgnoreSpec | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        included, excluded = _spec("include", self.include), _spec("exclude", self.exclude)
        if self.include and all(pattern.startswith("!") for pattern in self.include):
            raise SourceError(
                "pattern_invalid",
                f"the include patterns {list(self.include)} only take away; name what is to be taken, or "
                "give them as exclude patterns without their '!'",
            )
        object.__setattr__(self, "_included", included)
        object.__setattr__(self, "_excluded", excluded)

    def takes_folder(self, place: str) -> bool:
        """Whether to look into the folder at `place`, relative to the root, itself below taken folders."""
        return self._shows(place) and not (
            self._excluded is not None and self._excluded.match_file(f"{place}/")
        )

    def takes_file(self, place: str) -> bool:
        """Whether the file at `place`, relative to the root and below taken folders, is meant."""
        if not self._shows(place) or (self._excluded is not None and self._excluded.match_file(place)):
            return False
        return self._included is None or self._included.match_file(place)

    def takes(self, place: str) -> bool:
        """Whether a file at `place` would be taken, the folders on the way to it considered."""
        folders = [str(one) for one in PurePosixPath(place).parents][:-1]
        return all(self.takes_folder(folder) for folder in reversed(folders)) and self.takes_file(place)

    def _shows(self, place: str) -> bool:
        return self.hidden or not place.rpartition("/")[2].startswith(".")


def _spec(kind: str, patterns: Sequence[str]) -> GitIgnoreSpec | None:
    for pattern in patterns:
        _check(kind, pattern)
    return GitIgnoreSpec.from_lines(patterns) if patterns else None


def _check(kind: str, pattern: str) -> None:
    """Refuse what git would silently take for nothing: somebody meant something by it."""
    bare = pattern.removeprefix("!")
    reason = ""
    if pattern.startswith("#"):
        reason = r"is a comment; write \# for a name that begins with #"
    elif bare.startswith(("./", "../")) or bare in (".", ".."):
        reason = "is no pattern; patterns are relative to the folder that is ingested, without ./ or ../"
    elif "\0" in bare or not _encodable(bare):
        reason = "holds what no pattern can hold; write ? for a byte that is not UTF-8"
    elif _UNSURE_SET.search(bare):
        reason = r"has a set that can be read in two ways; write \[ for a bracket, and characters one by one"
    else:
        try:
            compiled = [one.include for one in GitIgnoreSpec.from_lines([pattern]).patterns]
            reason = (
                "" if any(one is not None for one in compiled) else "matches nothing; name files or folders"
            )
        except (ValueError, re.error) as error:
            reason = f"cannot be read ({error}); write it as in a .gitignore"
    if reason:
        raise SourceError("pattern_invalid", f"{kind} pattern {pattern!r} {reason}")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


EVERYTHING = Selection()
"""All but hidden files."""
