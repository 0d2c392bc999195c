"""The rule of which IP addresses are public. `web` calls it before it dials.

The rule names the allowed addresses: unicast IPv4, and IPv6 of 2000::/3, the only part that is assigned (RFC 4291), both
without the special-purpose blocks. The blocks are listed here, since Python 3.11's `ipaddress` knows only the registries of
2016.
"""

from __future__ import annotations

import ipaddress

_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_MULTICAST_4 = ipaddress.IPv4Network("224.0.0.0/4")
_SPECIAL_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carriers' own
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local, and where clouds serve their credentials
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocols' own; 192.0.0.9 and .10 are anycast services, which serve no pictures
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4, withdrawn
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
"""https://www.iana.org/assignments/iana-ipv4-special-registry: blocks that are not globally reachable, or no longer
assigned."""
_SPECIAL_6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols' own: Teredo (2001::/32), benchmarks (2001:2::/48), ORCHID (2001:10::/28, 2001:20::/28)
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address in disguise, which may be a private one
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
"""https://www.iana.org/assignments/iana-ipv6-special-registry: its blocks within 2000::/3. NAT64 (64:ff9b::/96,
64:ff9b:1::/48), IPv4-compatible (::/96), SRv6 (5f00::/16), unique local, link-local and site-local addresses lie outside."""


def is_public(address: str) -> bool:
    """Whether an IP address is public. An IPv4 address that is mapped into IPv6 counts as itself; a translated or tunnelled
    address never counts as public. False for a text that is not an address, or has a zone."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        return ip in _UNICAST_6 and not any(ip in block for block in _SPECIAL_6) and ip.is_global
    return ip not in _MULTICAST_4 and not any(ip in block for block in _SPECIAL_4) and ip.is_global
