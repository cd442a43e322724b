"""Names of body files: safe whatever comes, distinct where the URLs are."""

from __future__ import annotations

import itertools
import posixpath
import re
import unicodedata
from pathlib import Path

import can_ada
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crawler.names import FIELDS, check_layout, extension, hash_name, mirror_name, name, with_suffix

SHA = "0123456789abcdef" * 4
RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"
}
TEMPLATES = [
    "{host}/{path}",
    "{host}/{stem}{ext}",
    "{name}",
    "{id}",
    "{id}-{stem}",
    "../{name}",
    "{host}{host}",
    "{ext}",
]
LAYOUTS = ["hash", "mirror", *TEMPLATES]


def of(layout: str, href: str, content_type: str | None = "text/html", filename: str | None = None) -> str:
    return name(layout, href=href, sha256=SHA, content_type=content_type, id=7, filename=filename)


def assert_safe(path: str) -> None:
    """All that a name promises, for any file system it may be copied to."""
    assert path == posixpath.normpath(path)
    assert len(with_suffix(path, "1a2b3c4d").encode()) <= 1000
    assert path.count("/") < 64
    for part in path.split("/"):
        assert part not in ("", ".", "..")
        assert len(with_suffix(part, "1a2b3c4d").encode()) + len(".part") <= 255
        assert not part.startswith(("-", " "))
        assert not part.endswith((".", " "))
        assert not part.lower().endswith(".part")
        assert part.lower().partition(".")[0].rstrip() not in RESERVED
        assert not set(part) & set('"*:<>?\\|')
        assert all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in part)


# text of a file name or of a URL's path, and the name that it becomes as a file name
HOSTILE = [
    ("a.txt", "a.txt"),
    ("sub/dir.d/a.csv", "sub/dir.d/a.csv"),
    ("ünï-日本 (1).pdf", "ünï-日本 (1).pdf"),
    ("100%.txt", "100%.txt"),
    ("a%20b.txt", "a%20b.txt"),
    (".htaccess", ".htaccess"),
    ("...a", "...a"),
    ("..", ".%2e"),
    ("../x", ".%2e/x"),
    ("../../../etc/passwd", ".%2e/.%2e/.%2e/etc/passwd"),
    ("a/../../b", "a/.%2e/.%2e/b"),
    ("./a", "a"),
    ("a/./b", "a/b"),
    ("a//b", "a/b"),
    ("/etc/passwd", "etc/passwd"),
    ("//server/share", "server/share"),
    ("a/", "a"),
    ("...", "..%2e"),
    ("....//", "...%2e"),
    ("..\\..\\x", "..%5c..%5cx"),
    ("C:\\Windows\\x", "C%3a%5cWindows%5cx"),
    ("\\\\server\\share", "%5c%5cserver%5cshare"),
    ("a:stream", "a%3astream"),
    ("%2e%2e%2fx", "%2e%2e%2fx"),
    ("%2e%2e/x", "%2e%2e/x"),
    ("%00", "%00"),
    ("a\0b", "a%00b"),
    ("a\nb", "a%0ab"),
    ("a\r\nb", "a%0d%0ab"),
    ("a\tb", "a%09b"),
    ("\x1b[2J", "%1b[2J"),
    ("a\x7fb", "a%7fb"),
    ("a\x85b", "a%c2%85b"),
    ("a\u2028b", "a%e2%80%a8b"),
    ("\u202egpj.exe", "%e2%80%aegpj.exe"),
    ("a\u200fb", "a%e2%80%8fb"),
    ("a\u2066b\u2069", "a%e2%81%a6b%e2%81%a9"),
    ("a\u200bb", "a%e2%80%8bb"),
    ("\ufeffa", "%ef%bb%bfa"),
    ("a\u00a0b", "a%c2%a0b"),
    ("a\u3000", "a%e3%80%80"),
    ("a\ud800b", "a%ed%a0%80b"),
    ("a\U000e0001b", "a%f3%a0%80%81b"),
    ("a\ue000b", "a%ee%80%80b"),
    ("-rf", "%2drf"),
    ("--help", "%2d-help"),
    ("-", "%2d"),
    ("a/-b", "a/%2db"),
    (" a", "%20a"),
    (" ", "%20"),
    ("a ", "a%20"),
    ("a. ", "a.%20"),
    ("a.", "a%2e"),
    ("a./b.", "a%2e/b%2e"),
    ("a..", "a.%2e"),
    ("CON", "%43ON"),
    ("con.txt", "%63on.txt"),
    ("Nul.tar.gz", "%4eul.tar.gz"),
    ("aux .c", "%61ux .c"),
    ("COM1", "%43OM1"),
    ("com¹.x", "%63om¹.x"),
    ("lpt9/x", "%6cpt9/x"),
    ("CONIN$", "%43ONIN$"),
    ("console", "console"),
    ("com10", "com10"),
    ('"quoted"', "%22quoted%22"),
    ("a?b*c|d<e>f", "a%3fb%2ac%7cd%3ce%3ef"),
    ("$(reboot);`id`", "$(reboot);`id`"),
    ("~root", "~root"),
    ("a.part", "a%2epart"),
    ("A.PART/b", "A%2ePART/b"),
    ("a.txt.part", "a.txt%2epart"),
    (".part", "%2epart"),
    ("=cmd()", "=cmd()"),
    ("{host}", "{host}"),
    ("{url.__init__}", "{url.__init__}"),
    ("%s%n%(x)s", "%s%n%(x)s"),
]
LONG = [
    "a" * 300,
    "a" * 300 + ".html",
    "é" * 200 + ".html",
    "😀" * 255,
    "?" * 255,
    "a" * 241,
    "a/" * 600 + "b",
    "a/" * 100 + "b",
    "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200 + "/" + "v" * 200 + "/" + "w" * 200 + "/leaf.pdf",
    "%2f" * 100,
    "." * 300,
    "-" * 300,
    " " * 300,
    "CON." + "a" * 300,
    ("a" * 240 + "/") * 20 + "b",
]


@pytest.mark.parametrize(("text", "expected"), HOSTILE)
def test_hostile_filename(text: str, expected: str) -> None:
    """A row's file name is kept as it is where it is safe, and escaped where it is not."""
    assert of("mirror", "http://h/", filename=text) == expected
    assert_safe(expected)


@pytest.mark.parametrize("text", [*(text for text, _ in HOSTILE), *LONG])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_hostile_url(layout: str, text: str) -> None:
    """Hostile text is safe in a path, a query or a host, canonical or not, and as a file name in any layout."""
    encoded = text.encode("utf-8", "replace").decode()
    for href in (
        f"http://h/{text}",
        f"http://h/x?{text}",
        f"http://{text}/",
        str(can_ada.parse(f"http://h/{encoded}")),
    ):
        assert_safe(of(layout, href))
    assert_safe(of(layout, "http://h/", filename=text))


def test_nothing_outside(tmp_path: Path) -> None:
    """Written to a real file system, every hostile name is a file below the bodies folder, and nothing else appears."""
    root = tmp_path / "a" / "b" / "bodies"
    texts = [*(text for text, _ in HOSTILE), *LONG]
    paths = {of("mirror", f"http://h/{text}") for text in texts} | {
        of("mirror", f"http://h/x?{text}") for text in texts
    }
    for place, text in enumerate(texts):  # file names may need each other's folders, so each gets its own
        paths.add(f"{place}/{of('hash', 'http://h/', filename=text)}")
    for path in paths:
        target = root / with_suffix(path, "1a2b3c4d")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_name(f"{target.name}.part").touch(exist_ok=False)
        target.with_name(f"{target.name}.part").rename(target)
    found = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert all(path.is_relative_to(root) and path.resolve().is_relative_to(root.resolve()) for path in found)
    assert len(found) == len(paths) > 200


ANY_TEXT = st.text(st.characters(), max_size=300)
URL_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
HOSTILE_TEXT = st.lists(st.sampled_from([*(text for text, _ in HOSTILE), "/", ".", "%", "?", " "]), max_size=12)


@given(text=ANY_TEXT | HOSTILE_TEXT.map("".join), layout=st.sampled_from(LAYOUTS))
def test_any_filename(text: str, layout: str) -> None:
    """Any text is a safe file name, always the same, and a safe name stays as it is."""
    path = of(layout, "http://h/a", filename=text)
    assert_safe(path)
    assert of(layout, "http://h/a", filename=text) == path
    assert of("mirror", "http://h/a", filename=path) == path


@given(start=st.sampled_from(["http://h/", "https://", "http://h/a?", "foo:", "foo://h/", ""]), rest=URL_TEXT)
def test_any_url(start: str, rest: str) -> None:
    """Any URL that the parser takes has a safe name in each layout, always the same."""
    assume(can_ada.can_parse(start + rest))
    href = str(can_ada.parse(start + rest))
    for layout in LAYOUTS:
        path = of(layout, href)
        assert_safe(path)
        assert of(layout, href) == path


@given(layout=ANY_TEXT, content_type=ANY_TEXT, href=ANY_TEXT, filename=st.none() | ANY_TEXT)
def test_any_nonsense(layout: str, content_type: str, href: str, filename: str | None) -> None:
    """Even what no caller should pass gets a safe name."""
    assert_safe(of(layout, href, content_type, filename))


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("http://h/", "h/index.html"),
        ("https://docs.example/3/library/os.html", "docs.example/3/library/os.html"),
        ("http://h/docs/", "h/docs/index.html"),
        ("http://h/page", "h/page.html"),
        ("http://h/v1.2", "h/v1.2.html"),
        ("http://h/v1.2/x", "h/v1.2/x.html"),
        ("http://h/page?x=1", "h/page%3fx=1.html"),
        ("http://h/page?", "h/page%3f.html"),
        ("http://h/?a=/b?c", "h/index%3fa=%2fb%3fc.html"),
        ("http://h/a.php?x=1.html", "h/a.php%3fx=1.html.html"),
        ("http://h/page%3Fx=1", "h/page%3Fx=1.html"),
        ("http://h/a.php", "h/a.php"),
        ("http://h/a.php/b", "h/a.php%2f/b.html"),
        ("http://h//a//b.js", "h/%2f/a/%2f/b.js"),
        ("http://h:8080/a.js", "h%3a8080/a.js"),
        ("http://user:secret@h/a.js#top", "h/a.js"),
        ("http://[::1]:81/a.js", "[%3a%3a1]%3a81/a.js"),
        ("http://h/%e2%82%ac%20%C3%A9.js", "h/€ é.js"),
        ("http://h/%41%2d%7E.js", "h/A-~.js"),
        ("http://h/a%2fb%2e%2e%00%5C.js", "h/a%2Fb..%00%5C.js"),
        ("http://h/%2e%2e%2fa.js", "h/..%2Fa.js"),
        ("http://h/%C0%AE%C0%AE/%ff.js", "h/%C0%AE%C0%AE/%FF.js"),
        ("http://h/%E2%80%AEa.js", "h/%E2%80%AEa.js"),
        ("http://h/100%.js", "h/100%25.js"),
        ("http://h/%20.js", "h/%20.js"),
        ("http://h/a%20/b.js", "h/a%20/b.js"),
        ("http://h/A.js", "h/A.js"),
        ("http://h/a:b|c.js", "h/a%3ab%7cc.js"),
        ("http://h/.git/config", "h/.git/config.html"),
        ("http://h/x.part", "h/x.part.html"),
        ("http://con/aux", "%63on/%61ux.html"),
        ("file:///etc/passwd", "file%3a/etc/passwd.html"),
        ("mailto:a@b", "mailto%3a/a@b.html"),
    ],
)
def test_mirror(href: str, expected: str) -> None:
    """The mirror layout keeps a site's shape, as its docstring says."""
    assert mirror_name(href, "text/html") == expected
    assert of("mirror", href) == expected
    assert_safe(expected)


@pytest.mark.parametrize(
    ("href", "content_type", "expected"),
    [
        ("http://h/feed/", "application/rss+xml", "h/feed/index.xml"),
        ("http://h/feed/", "application/octet-stream", "h/feed/index.html"),
        ("http://h/feed/", None, "h/feed/index.html"),
        ("http://h/api", "application/json", "h/api.json"),
        ("http://h/LICENSE", None, "h/LICENSE.bin"),
        ("http://h/a.css?v=3", None, "h/a.css%3fv=3.css"),
        ("http://h/a.jpg", "image/webp", "h/a.jpg"),
    ],
)
def test_mirror_extension(href: str, content_type: str | None, expected: str) -> None:
    """An extension is added only where the URL has none of its own, by the content type if it is known."""
    assert mirror_name(href, content_type) == expected


TOKENS = [
    *(
        "a",
        "A",
        "%41",
        "/",
        "%2F",
        "%2f",
        "?",
        "%3F",
        "%3f",
        ":",
        "%3A",
        "%3a",
        ".",
        "%2E",
        "..",
        "%",
        "25",
        "%25",
        "3f",
    ),
    *(
        "%C3%A9",
        "%c3%a9",
        "é",
        "%C3",
        "-",
        "%2D",
        "%20",
        "con",
        ".part",
        ".html",
        "\\",
        "%5C",
        "|",
        "%7C",
        "~",
        "%E2%80%AE",
    ),
]


def normal_form(href: str) -> str:
    """RFC 3986, section 6.2.2, octet by octet; a lone percent sign is the escape of itself."""

    def spelt(escape: re.Match[str]) -> str:
        if escape[0] == "%":
            return "%25"
        char = chr(int(escape[0][1:], 16))
        return char if re.fullmatch(r"[A-Za-z0-9._~-]", char) else escape[0].upper()

    return re.sub("%[0-9A-Fa-f]{2}|%", spelt, href)


def assert_distinct(texts: list[str]) -> None:
    hrefs = {
        str(can_ada.parse(shape.format(text)))
        for text in texts
        for shape in ("http://h/{}/f.html", "http://h/{}x.html", "http://h/x.html?{}")
    }
    seen: dict[str, str] = {}
    for href in hrefs:
        assert seen.setdefault(mirror_name(href), normal_form(href)) == normal_form(href)
    assert len(seen) == len({normal_form(href) for href in hrefs})


def test_distinct() -> None:
    """URLs that differ in more than the spelling of escapes have distinct names: every pair of hostile tokens."""
    assert_distinct(["".join(pair) for pair in itertools.product(["", *TOKENS], repeat=2)])


@given(st.lists(st.lists(st.sampled_from(TOKENS), max_size=6).map("".join), min_size=2, max_size=20))
def test_distinct_longer(texts: list[str]) -> None:
    """The same of longer hostile paths and queries."""
    assert_distinct(texts)


def test_never_file_and_folder() -> None:
    """No name is a folder of another, with or without extensions, queries and empty parts."""
    texts = ["".join(pair) for pair in itertools.product(["", *TOKENS], repeat=2)]
    names = {
        mirror_name(str(can_ada.parse(f"http://h/{text}{tail}"))) for text in texts for tail in ("", "/b", "/", ".c")
    }
    folders = {str(parent) for path in names for parent in Path(path).parents}
    assert not names & folders


@pytest.mark.parametrize("shape", ["http://h/{}", "http://h/{}.html", "http://h/{}/a.html", "http://h/a?{}"])
@pytest.mark.parametrize("filler", ["x" * 400, "%E2%82%AC" * 100, "x/" * 700, "%00" * 90])
def test_long_names_differ(shape: str, filler: str) -> None:
    """Names that are cut still differ where the URLs do, at the end or in the middle, and keep their extension."""
    hrefs = [
        shape.format(text) for text in (f"{filler}1", f"{filler}2", f"1{filler}", f"{filler}1{filler}", filler + "z")
    ]
    names = {mirror_name(href, "text/html") for href in hrefs}
    assert len(names) == len(hrefs)
    assert all(path.endswith(".html") and path.startswith("h/") for path in names)


def test_cut_keeps_characters_and_escapes_whole() -> None:
    """A cut goes neither through a character nor through an escape."""
    for offset in range(6):
        leaf = mirror_name(f"http://h/{'y' * offset}{'%00' * 90}{'%E2%82%AC' * 90}.js").removeprefix("h/")
        assert re.fullmatch(r"y*(%00)+~[0-9a-f]{16}\.js", leaf)
        leaf = mirror_name(f"http://h/{'y' * offset}{'%E2%82%AC' * 90}.js").removeprefix("h/")
        assert re.fullmatch(r"y*€+~[0-9a-f]{16}\.js", leaf)
        assert 235 < len(leaf.encode()) <= 240


def test_hash() -> None:
    """The hash layout depends on the content alone, but for an extension."""
    assert hash_name(SHA, ".pdf") == f"01/23/{SHA}.pdf"
    assert of("hash", "http://h/../x?y", "text/html; charset=utf-8") == f"01/23/{SHA}.html"
    assert of("hash", "http://h/x.PDF", None) == f"01/23/{SHA}.pdf"


@pytest.mark.parametrize("text", ["ab", "01", "ab/cd", "/ab/"])
def test_filename_leaves_hash_folders_free(text: str) -> None:
    """A file name never stands where the hash layout needs a folder."""
    path = of("hash", "http://h/", filename=text)
    assert not re.fullmatch(r"[0-9a-f]{2}(/[0-9a-f]{2})?", path)
    assert of("mirror", "http://h/", filename=text) == text.strip("/")


@pytest.mark.parametrize("filename", [None, "", "/", "//", ".", "./."])
def test_no_filename(filename: str | None) -> None:
    """A file name that names nothing leaves it to the layout."""
    assert of("mirror", "http://h/a.js", filename=filename) == "h/a.js"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{host}/{stem}{ext}", "h%3a81/os.html"),
        ("{host}/{path}", "h%3a81/lib/os.html"),
        ("by-id/{id}.{sha256}", f"by-id/7.{SHA}"),
        ("{name}", "os.html"),
        ("{stem}-{id}{ext}", "os-7.html"),
        ("/abs/{name}", "abs/os.html"),
        ("../{name}", ".%2e/os.html"),
        ("{host}//./{name}", "h%3a81/os.html"),
        ("-{id}", "%2d7"),
        ("{url.__init__}/{name.__class__}", "{url.__init__}/{name.__class__}"),
        ("{0}{id!r}{id:>99}", "{0}{id!r}{id%3a>99}".replace(">", "%3e")),
        ("/", SHA),
    ],
)
def test_template(template: str, expected: str) -> None:
    """A template replaces its fixed fields; everything else in it is plain text."""
    assert of(template, "http://h:81/lib/os.html") == expected


def test_template_fields_are_not_expanded_again() -> None:
    """A URL that contains a field's name does not get its value."""
    assert of("{name}-{id}", "http://h/{id}.js") == "{id}.js-7"


@pytest.mark.parametrize("layout", ["hash", "mirror", *(f"x/{{{field}}}" for field in FIELDS), *TEMPLATES])
def test_good_layout(layout: str) -> None:
    """The layouts and every template of known fields are accepted."""
    check_layout(layout)


@pytest.mark.parametrize(
    ("layout", "culprit"),
    [
        ("{url}", "'{url}'"),
        ("{host}/{name.__class__}", "'{name.__class__}'"),
        ("{id:05}", "'{id:05}'"),
        ("{host!r}", "'{host!r}'"),
        ("{{host}}", "'{}'"),
        ("{host", "'{host'"),
        ("host}-{id}", "'}'"),
        ("{}", "'{}'"),
        ("flat", "'flat'"),
        ("", "''"),
    ],
)
def test_bad_layout(layout: str, culprit: str) -> None:
    """Anything else is refused, with the culprit and the fields there are."""
    with pytest.raises(ValueError, match=re.escape(culprit)) as caught:
        check_layout(layout)
    assert all(f"{{{field}}}" in str(caught.value) for field in FIELDS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("h/a.html", "h/a~1a2b3c4d.html"),
        ("h/a", "h/a~1a2b3c4d"),
        ("a.tar.gz", "a.tar~1a2b3c4d.gz"),
        ("h.org/v1.2", "h.org/v1.2~1a2b3c4d"),
        (".html", ".html~1a2b3c4d"),
    ],
)
def test_with_suffix(path: str, expected: str) -> None:
    """The suffix goes before the extension of the last part."""
    assert with_suffix(path, "1a2b3c4d") == expected


@pytest.mark.parametrize(
    ("content_type", "href", "expected"),
    [
        ("text/html", "http://h/a.php", ".html"),
        ("TEXT/HTML ; charset=x", "http://h/", ".html"),
        ("application/json", "http://h/", ".json"),
        ("application/ld+json", "http://h/", ".json"),
        ("application/atom+xml", "http://h/", ".xml"),
        ("image/svg+xml", "http://h/", ".svg"),
        ("application/x+../../x", "http://h/a", ".bin"),
        ("application/octet-stream", "http://h/a.tar.GZ?x.y#z", ".gz"),
        ("json", "http://h/a", ".bin"),
        ("nonsense", "http://h/a.js/b", ".bin"),
        ("", "http://h.com/", ".bin"),
        (None, "http://h/a.b%2Fc", ".bin"),
        (None, "http://h/a.verylongext", ".bin"),
        (None, "http://h/a.7z", ".7z"),
        (None, "http://h/a.123", ".bin"),
        (None, "http://h/a.part", ".bin"),
        (None, "http://h/.js", ".bin"),
        (None, "http://h/a.js?b.css", ".js"),
    ],
)
def test_extension(content_type: str | None, href: str, expected: str) -> None:
    """The content type decides, else the URL's own extension if it is a plain one, else `.bin`."""
    assert extension(content_type, href) == expected
