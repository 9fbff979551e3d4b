"""spool/core/upload.py: what an uploaded file is called."""

from itertools import islice

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.services.proxy.spool.core.upload import candidates, is_image, safe_name, unique_name


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param("IMG_1.JPG", "IMG_1.JPG", id="plain"),
        pytest.param("../../evil.jpg", "evil.jpg", id="parents"),
        pytest.param("/etc/passwd", "passwd", id="absolute"),
        pytest.param("a/b/c.jpg", "c.jpg", id="folders"),
        pytest.param("..\\win.jpg", "win.jpg", id="windows"),
        pytest.param("C:\\fakepath\\x.jpg", "x.jpg", id="browser"),
        pytest.param(".", "_.", id="dot"),
        pytest.param("..", "._.", id="two dots"),
        pytest.param("", "_", id="empty"),
        pytest.param("folder/", "_", id="only a folder"),
        pytest.param("body.json", "_body.json", id="reserved"),
        pytest.param("BODY.json", "_BODY.json", id="reserved in capitals"),
        pytest.param("x/Body.JSON", "_Body.JSON", id="reserved in a folder"),
        pytest.param('q"uo"te.jpg', 'q"uo"te.jpg', id="quotes"),
        pytest.param("per%22cent%.jpg", "per%22cent%.jpg", id="percent"),
        pytest.param("a;$(b) c\td.jpg", "a;$(b) c\td.jpg", id="shell, space, tab"),
        pytest.param("Überflug 東京.jpg", "Überflug 東京.jpg", id="unicode"),
        pytest.param("é" * 127, "é" * 127, id="254 bytes"),
    ],
)
def test_a_name_is_kept_as_far_as_it_can_be(sent: str, kept: str):
    assert safe_name(sent) == kept


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        pytest.param("a\0.jpg", "control characters", id="NUL"),
        pytest.param("a\n.jpg", "control characters", id="line break"),
        pytest.param("a\x7f.jpg", "control characters", id="delete"),
        pytest.param("a\udc80.jpg", "control characters", id="not UTF-8"),
        pytest.param("x" * 300, "longer than 255 bytes", id="300 bytes"),
        pytest.param("é" * 128, "longer than 255 bytes", id="256 bytes"),
        pytest.param("b" * 251 + "/" + "c" * 256, "longer than 255 bytes", id="in a folder"),
    ],
)
def test_a_name_that_cannot_be_kept_is_refused(sent: str, why: str):
    with pytest.raises(Refused, match=why) as refused:
        safe_name(sent)
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    ("name", "names"),
    [
        pytest.param("a.jpg", ["a.jpg", "a_.jpg", "a__.jpg"], id="extension"),
        pytest.param("noext", ["noext", "noext_", "noext__"], id="no extension"),
        pytest.param("x.tar.gz", ["x.tar.gz", "x.tar_.gz", "x.tar__.gz"], id="two dots"),
        pytest.param(".hidden", [".hidden", "_.hidden", "__.hidden"], id="dot first"),
    ],
)
def test_further_names_follow_the_originals_scheme(name: str, names: list[str]):
    assert list(islice(candidates(name), 3)) == names


def test_the_first_free_name_is_taken():
    assert unique_name("a.jpg", frozenset({"a.jpg", "a_.jpg"})) == "a__.jpg"


def test_a_further_name_that_would_be_too_long_is_refused():
    with pytest.raises(Refused, match="longer than 255 bytes"):
        unique_name("x" * 255, frozenset({"x" * 255}))


@pytest.mark.parametrize(
    ("name", "image"),
    [
        pytest.param("a.jpg", True, id="photo"),
        pytest.param("noext", True, id="no extension"),
        pytest.param("gcp_list.txt", False, id="ground control"),
        pytest.param("GEO.TXT", False, id="in capitals"),
        pytest.param("align.laz", False, id="alignment"),
        pytest.param("Align.TIF", False, id="alignment in capitals"),
        pytest.param("xalign.tif", True, id="not quite alignment"),
        pytest.param("seed.zip", False, id="seed"),
        pytest.param("other.ZIP", False, id="archive"),
        pytest.param("a.txt.jpg", True, id="text inside"),
    ],
)
def test_what_nodeodm_takes_out_is_not_counted_as_an_image(name: str, image: bool):
    assert is_image(name) is image
