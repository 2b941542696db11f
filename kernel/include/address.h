/* SPDX-License-Identifier: GPL-2.0 */
/* What an address is by itself: 16 bytes of an IPv6 one, IPv4 mapped. Needs nothing but types, so that tests can run
 * it. */
#pragma once

static __always_inline bool is_mapped(const __u8 *address)
{
	const __u32 *words = (const __u32 *)address;

	return !words[0] && !words[1] && words[2] == __builtin_bswap32(0xffff);
}

static __always_inline bool is_loopback(const __u8 *address)
{
	const __u32 *words = (const __u32 *)address;

	if (is_mapped(address))
		return address[12] == 127;
	return !words[0] && !words[1] && !words[2] && words[3] == __builtin_bswap32(1);
}

/* An address of RFC 1918, 3927, 6598 or 4193, of the link or of the machine itself: what identity/address.py calls
 * private or loopback (tests/unit/identity/test_address.py compares the two). */
static __always_inline bool is_near(const __u8 *address)
{
	const __u8 *four = address + 12;

	if (is_loopback(address))
		return true;
	if (!is_mapped(address))
		return (address[0] & 0xfe) == 0xfc || (address[0] == 0xfe && (address[1] & 0xc0) == 0x80);
	return four[0] == 10 || (four[0] == 172 && (four[1] & 0xf0) == 16) || (four[0] == 192 && four[1] == 168) ||
	       (four[0] == 169 && four[1] == 254) || (four[0] == 100 && (four[1] & 0xc0) == 64);
}
