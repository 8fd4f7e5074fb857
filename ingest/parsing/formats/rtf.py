"""RTF: a walk over its groups and control words, without recursion; pictures and objects are passed over."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from latewood.ingest.metadata import common
from latewood.ingest.parsing.formats.rtf_blocks import Blocks, Look, joined
from latewood.ingest.parsing.text_builder import one_line, pick_title
from latewood.ingest.types import Parsed, ParseError

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)|\\",
    re.S,
)
_CHARSETS = {
    0: "", 1: "", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gb18030", 136: "big5", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250",
}  # fmt: skip
_WORDS = {
    b"tab": "\t", b"line": "\n", b"emdash": "\u2014", b"endash": "\u2013", b"lquote": "\u2018",
    b"rquote": "\u2019",
    b"ldblquote": "\u201c", b"rdblquote": "\u201d", b"bullet": "\u2022",
    b"emspace": "\u2003", b"enspace": "\u2002",
    b"zwj": "\u200d", b"zwnj": "\u200c", b"softline": "\n",
}  # fmt: skip
_SYMBOLS = {b"~": "\u00a0", b"_": "\u2011", b"{": "{", b"}": "}", b"\\": "\\"}
_SKIPPED = frozenset(
    (
        b"colortbl pict objdata objclass fldinst themedata colorschememapping datastore datafield filetbl "
        b"generator nonshppict headerl headerr headerf header footerl footerr footerf footer listtable "
        b"listoverridetable rsidtbl xmlnstbl sp bkmkstart bkmkend revtbl template operator company comment "
        b"doccomm hlinkbase pntxta pntxtb mmathPr atrfstart atrfend atnref atnid atnauthor atndate"
    ).split()
)
_READ_STARRED = frozenset((b"shpinst", b"annotation", b"ud", b"fldrslt"))
_ABOUT = frozenset((b"title", b"author", b"subject", b"keywords"))
_CODE_STYLES = ("code", "source", "preformatted", "html preformatted", "plain text", "macro")
_PLACES = {
    b"fonttbl": "fonts", b"stylesheet": "styles", b"info": "info", b"creatim": "moment", b"footnote": "aside",
    b"annotation": "aside", b"pntext": "bullet", b"listtext": "bullet",
}  # fmt: skip


@dataclass(slots=True)
class _Group:
    """What a group changes and its end restores.

    `place` is where text goes: `text`, `skip`, `fonts`, `styles`, `info`, `about:NAME`, `moment`, `aside`
    or `bullet`.
    """

    place: str = "text"
    codec: str = ""
    skip_after_unicode: int = 1
    hidden: bool = False


@dataclass(slots=True)
class _Styles:
    """Fonts by their encoding, paragraph styles by heading depth and use, read from the file's head."""

    fonts: dict[int, str] = field(default_factory=dict)
    depths: dict[int, int] = field(default_factory=dict)
    code: set[int] = field(default_factory=set)


def read_rtf(data: bytes, name: str) -> Parsed:
    """An RTF file: headings by outline level or style, lists, tables, footnotes.

    Raises:
        ParseError: `corrupt` if it does not begin as RTF does.
    """
    if not data.lstrip().startswith(b"{\\rtf"):
        raise ParseError("corrupt", "the file is not RTF: it does not begin with {\\rtf")
    reader = _Reader()
    whole = reader.read(data)
    builder, about = reader.blocks.builder, {key: one_line(value) for key, value in reader.about.items()}
    notes = () if whole else ("the file ends before its last group does: it may be cut off",)
    metadata = common(
        author=about.get("author"),
        created=reader.created,
        subject=about.get("subject"),
        keywords=about.get("keywords"),
    )
    title = pick_title(name, about.get("title", ""), builder.first_title())
    return builder.finish(title, "rtf", metadata=metadata, notes=notes)


class _Reader:
    """The walk: tokens in, blocks out."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self.about: dict[str, str] = {}
        self.created = ""
        self._codec = "cp1252"
        self._group = _Group()
        self._stack: list[_Group] = []
        self._styles = _Styles()
        self._style = self._font = 0
        self._fresh = self._starred = False
        self._surplus = 0
        self._bytes = bytearray()
        self._text: list[str] = []
        self._named: list[str] = []
        self._moment: dict[bytes, int] = {}

    def read(self, data: bytes) -> bool:
        """Read everything; whether every group was closed."""
        position = 0
        while found := _TOKEN.match(data, position):
            position = found.end()
            word, number, code, symbol, brace, text = found.groups()
            if word:
                value = int(number) if number else None
                if word == b"bin":
                    position += max(value or 0, 0)
                elif self._surplus:
                    self._surplus -= 1
                else:
                    self._word(word, value)
            elif brace:
                self._brace(brace)
            elif code:
                self._put(bytes((int(code, 16),)))
            elif symbol:
                self._symbol(symbol)
            elif text:
                self._put(text)
            self._fresh = self._fresh and (brace == b"{" or symbol == b"*" or not found[0].strip())
        self.blocks.finish(self._take())
        return not self._stack

    def _brace(self, brace: bytes) -> None:
        self._decode()
        self._surplus = 0
        if brace == b"{":
            self._stack.append(self._group)
            self._group = replace(self._group)
            self._fresh, self._starred = True, False
        elif self._stack:
            ended, self._group = self._group, self._stack.pop()
            self._end_group(ended.place)

    def _end_group(self, place: str) -> None:
        if place == "styles" and self._named:
            self._name_style()
        if place == "aside" and self._group.place != "aside":
            self.blocks.aside("\n")
        if place == "moment" and self._moment and self._group.place != "moment":
            year, month, day = (self._moment.get(part, 1) for part in (b"yr", b"mo", b"dy"))
            self.created = f"{year:04}-{month:02}-{day:02}"

    def _name_style(self) -> None:
        name = one_line("".join(self._named)).strip("; ").lower()
        self._named.clear()
        digits = name.removeprefix("heading").strip()
        if name.startswith("heading") and digits.isascii() and digits.isdigit():
            self._styles.depths.setdefault(self._style, max(min(int(digits[:2]), 6), 1))
        elif name == "title":
            self._styles.depths.setdefault(self._style, 1)
        elif name.startswith(_CODE_STYLES):
            self._styles.code.add(self._style)
        self._style = 0

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self._starred = self._fresh
        elif self._surplus:
            self._surplus -= 1
        elif symbol in _SYMBOLS:
            self._write(_SYMBOLS[symbol])
        elif symbol in (b"\n", b"\r"):
            self._end_paragraph()

    def _word(self, word: bytes, value: int | None) -> None:
        if self._fresh and self._destination(word):
            return
        if word == b"u" and value is not None:
            self._write(chr(value & 0xFFFF))
            self._surplus = self._group.skip_after_unicode
        elif word in _WORDS:
            self._write(_WORDS[word])
        elif self._group.place == "moment":
            self._moment[word] = value or 0
        elif act := _ACTIONS.get(word):
            self._decode()
            act(self, value)

    def _destination(self, word: bytes) -> bool:
        """Whether the first word of a group says what the group is; then its place is set."""
        place = _PLACES.get(word, "")
        if word in _SKIPPED or (self._starred and word not in _READ_STARRED):
            place = "skip"
        elif word in _ABOUT and self._group.place == "info":
            place = f"about:{word.decode()}"
        elif place == "bullet":
            self.blocks.look.listed = True
        if not place:
            return False
        if self._group.place != "skip":  # what stands in a part that is passed over is passed over, too
            self._group.place = place
        return True

    def _put(self, piece: bytes) -> None:
        """Bytes of text, in whatever encoding the font has."""
        if self._surplus:
            dropped = min(self._surplus, len(piece))
            self._surplus -= dropped
            piece = piece[dropped:]
        if self._group.place != "skip":
            self._bytes += piece

    def _decode(self) -> None:
        if self._bytes:
            piece = self._bytes.decode(self._group.codec or self._codec, "replace")
            self._bytes.clear()
            self._write_now(piece)

    def _write(self, text: str) -> None:
        self._decode()
        self._write_now(text)

    def _write_now(self, text: str) -> None:
        place = self._group.place
        if place.startswith("about:"):
            key = place.partition(":")[2]
            self.about[key] = self.about.get(key, "") + text
        elif place == "styles":
            self._named.append(text)
        elif place == "aside":
            self.blocks.aside(text)
        elif place == "text" and not self._group.hidden:
            self._text.append(text)

    def _take(self) -> str:
        self._decode()
        text = joined("".join(self._text))
        self._text.clear()
        return text

    def _end_paragraph(self, _: int | None = None) -> None:
        place = self._group.place
        if place == "aside" or (place == "text" and self.blocks.look.in_table):
            self._write("\n")
        elif place == "text":
            self.blocks.paragraph(self._take())

    def _end_cell(self, _: int | None) -> None:
        if self._group.place == "text":
            self.blocks.cell(self._take())

    def _end_row(self, _: int | None) -> None:
        if self._group.place == "text":
            self.blocks.row(self._take())

    def _set_font(self, value: int | None) -> None:
        self._font = value or 0
        if self._group.place != "fonts":
            self._group.codec = self._styles.fonts.get(self._font, "")

    def _set_charset(self, value: int | None) -> None:
        if self._group.place == "fonts" and (codec := _CHARSETS.get(value or 0)):
            self._styles.fonts[self._font] = codec

    def _set_style(self, value: int | None) -> None:
        if self._group.place == "styles":
            self._style = value or 0
            return
        self.blocks.look.depth = self._styles.depths.get(value or 0, 0)
        self.blocks.look.code = (value or 0) in self._styles.code

    def _set_outline(self, value: int | None) -> None:
        depth = max(min((value or 0) + 1, 6), 1) if (value or 0) < 9 else 0
        if self._group.place == "styles":
            self._styles.depths[self._style] = depth
        else:
            self.blocks.look.depth = depth

    def _set_page(self, value: int | None) -> None:
        try:
            self._codec = codecs.lookup(f"cp{value}").name if value != 65001 else "utf-8"
        except LookupError:
            self._codec = "cp1252"

    def _reset(self, _: int | None) -> None:
        if self._group.place == "text":
            self.blocks.look = Look()

    def _set_in_table(self, value: int | None) -> None:
        self.blocks.look.in_table = value != 0

    def _set_list(self, value: int | None) -> None:
        self.blocks.look.listed = bool(value)

    def _set_hidden(self, value: int | None) -> None:
        if self._group.place == "text":
            self._group.hidden = value != 0

    def _set_unicode_skip(self, value: int | None) -> None:
        self._group.skip_after_unicode = max(min(value or 0, 16), 0)


_ACTIONS: dict[bytes, Callable[[_Reader, int | None], None]] = {
    b"par": _Reader._end_paragraph,
    b"sect": _Reader._end_paragraph,
    b"page": _Reader._end_paragraph,
    b"cell": _Reader._end_cell,
    b"nestcell": _Reader._end_cell,
    b"row": _Reader._end_row,
    b"nestrow": _Reader._end_row,
    b"pard": _Reader._reset,
    b"s": _Reader._set_style,
    b"outlinelevel": _Reader._set_outline,
    b"ls": _Reader._set_list,
    b"intbl": _Reader._set_in_table,
    b"f": _Reader._set_font,
    b"fcharset": _Reader._set_charset,
    b"ansicpg": _Reader._set_page,
    b"mac": lambda reader, _: setattr(reader, "_codec", "mac_roman"),
    b"v": _Reader._set_hidden,
    b"uc": _Reader._set_unicode_skip,
}
