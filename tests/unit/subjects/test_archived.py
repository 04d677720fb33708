import io
import lzma
import tarfile
import zlib

import pytest

from probes.subjects.archived import LARGEST, MEMORY, members


def packed(path, files, compress=lzma.compress):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
        for name, kind in (("linked.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
    path.write_bytes(compress(out.getvalue()))
    return path


def greedy(data):
    """An xz file that says that it needs a dictionary of 4 GiB."""
    out = bytearray(lzma.compress(data))
    size = 4 * (out[12] + 1)
    assert out[14:16] == b"\x21\x01"
    out[16] = 40
    out[12 + size - 4 : 12 + size] = zlib.crc32(out[12 : 12 + size - 4]).to_bytes(4, "little")
    return bytes(out)


def test_files_of_an_ending_come_in_order_and_links_do_not(tmp_path):
    files = {"b/1.jpg": b"one", "../2.jpg": b"two" * 99_999, "c.txt": b"no"}
    found = dict(members(packed(tmp_path / "a.tar.xz", files), ".jpg"))

    assert found == {"b/1.jpg": b"one", "../2.jpg": b"two" * 99_999}
    assert list(found) == ["b/1.jpg", "../2.jpg"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.xz"]


def test_an_archive_that_claims_a_dictionary_of_4_gib_is_refused(tmp_path):
    path = packed(tmp_path / "a.tar.xz", {"1.jpg": b"one"}, greedy)

    assert 2 * MEMORY < 2**32
    with pytest.raises(lzma.LZMAError, match="Memory usage limit exceeded"):
        list(members(path, ".jpg"))


def test_a_member_without_end_is_refused_before_it_is_unpacked(tmp_path):
    path = packed(tmp_path / "a.tar.xz", {"1.jpg": bytes(LARGEST + 1)})

    with pytest.raises(ValueError, match=r"1\.jpg claims 1,048,577 bytes"):
        list(members(path, ".jpg"))


@pytest.mark.parametrize("end", [1, 40, 100])
def test_an_archive_that_ends_in_the_middle_is_an_error(tmp_path, end):
    path = packed(tmp_path / "a.tar.xz", {"1.jpg": b"one"})
    path.write_bytes(path.read_bytes()[:end])

    with pytest.raises((EOFError, lzma.LZMAError, tarfile.TarError)):
        list(members(path, ".jpg"))
