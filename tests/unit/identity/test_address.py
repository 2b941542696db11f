"""What an address is by itself is the same on both sides: kernel/include/address.h, compiled here, against identity/address.py."""

from __future__ import annotations

import ipaddress
import random
import subprocess
from pathlib import Path

from firsthand.identity.address import PRIVATE, kind

_HEADER = Path(__file__).parents[3] / "kernel/include/address.h"
#: Addresses on standard input, 16 bytes each; `1` or `0` for each.
_PROGRAM = f"""#include <stdbool.h>
#include <stdio.h>
typedef unsigned char __u8;
typedef unsigned int __u32;
#define __always_inline inline
#include "{_HEADER}"
int main(void)
{{
	_Alignas(8) __u8 address[16];

	while (fread(address, 16, 1, stdin) == 1)
		putchar(is_near(address) ? '1' : '0');
	return 0;
}}
"""


def _edges() -> list[str]:
    """The first and the last address of each range, and their neighbours; loopback's too."""
    found = []
    for text in (*PRIVATE, "127.0.0.0/8", "::1/128"):
        network = ipaddress.ip_network(text)
        for address in (network[0], network[-1]):
            found += [
                str(address + step) for step in (-1, 0, 1) if 0 < int(address) + step < 1 << network.max_prefixlen
            ]
    return found


def _bytes(text: str) -> bytes:
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def test_the_kernel_side_calls_the_same_addresses_near(tmp_path: Path) -> None:
    """Those of loopback and of the private ranges, at their edges and anywhere else."""
    source, program = tmp_path / "near.c", tmp_path / "near"
    source.write_text(_PROGRAM)
    subprocess.run(["gcc", "-O1", "-fno-strict-aliasing", "-o", program, source], check=True)
    chance = random.Random(1)
    texts = [*_edges(), *(str(ipaddress.IPv4Address(chance.getrandbits(32))) for _ in range(500))]
    texts += [str(ipaddress.IPv6Address(chance.getrandbits(128))) for _ in range(500)]
    done = subprocess.run([program], input=b"".join(map(_bytes, texts)), capture_output=True, check=True)
    near = [letter == "1" for letter in done.stdout.decode()]
    assert near == [kind(text) in ("loopback", "private") for text in texts]
