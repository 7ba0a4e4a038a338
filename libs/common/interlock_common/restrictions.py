"""What addresses and times a token is limited to: parsed once, decided fast, compared when another one is minted.

A week is an integer of 10,080 bits, one a minute of local time from Monday 00:00 on, so that "is it allowed now" is a
shift and "is one window within the other" an and-not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from zoneinfo import ZoneInfo

from interlock_common.errors import InvalidInput
from interlock_common.messages.auth import Scopes, TimeRestrictions

type Network = IPv4Network | IPv6Network
type Address = IPv4Address | IPv6Address

MAX_NETWORKS = 100
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY = 24 * 60
_WEEK = 7 * _DAY
_ALWAYS = (1 << _WEEK) - 1
_MAX_ZONE = 64


class RestrictionRefused(InvalidInput):
    """An address, a time or a limit that cannot be understood, and so could not be enforced."""

    code = "scope_refused"


@dataclass(frozen=True, slots=True)
class Window:
    """When a token counts: minutes of a week, by the clocks of a place."""

    week: int
    zone: ZoneInfo

    def ends(self, now: float) -> float | None:
        """When the window that is open at ``now`` closes, both in seconds since the epoch; None when none is open."""
        local = datetime.fromtimestamp(now, self.zone)
        minute = local.weekday() * _DAY + local.hour * 60 + local.minute
        ahead = (self.week >> minute) | ((self.week << (_WEEK - minute)) & _ALWAYS)
        open_for = (~ahead & (ahead + 1)).bit_length() - 1  # how many ones there are at the low end
        if open_for == 0:
            return None
        # Adding to a local time goes by its clocks, so a change to summer time is no hour lost or won.
        return (local.replace(second=0, microsecond=0) + timedelta(minutes=min(open_for, _WEEK))).timestamp()


@dataclass(frozen=True, slots=True)
class Restrictions:
    """From where and when a token counts; None is no limit."""

    networks: tuple[Network, ...] | None = None
    window: Window | None = None

    def lets_in(self, address: Address | None) -> bool:
        """Whether the token counts from ``address``; one that is not known is nowhere."""
        if self.networks is None:
            return True
        return address is not None and any(address in network for network in self.networks)


UNRESTRICTED = Restrictions()


def restrictions_of(scopes: Scopes) -> Restrictions:
    """The addresses and times of ``scopes``; raises RestrictionRefused where they cannot be understood."""
    networks = _networks(scopes.ip_restrictions) if scopes.ip_restrictions else None
    window = _window(scopes.time_restrictions) if scopes.time_restrictions is not None else None
    _check_limits(scopes)
    return Restrictions(networks, window) if networks is not None or window is not None else UNRESTRICTED


def address_of(text: str) -> Address | None:
    """An address as peers and proxies write it; an IPv4 address in the clothes of IPv6 is the IPv4 address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def widened(inner: Scopes, outer: Scopes) -> str | None:
    """Which of addresses, times and limits ``inner`` has wider than ``outer``; None when it has none.

    What ``outer`` limits ``inner`` must limit as well: leaving it out would open everything.
    """
    of_inner, of_outer = restrictions_of(inner), restrictions_of(outer)
    if of_outer.networks is not None and not _networks_within(of_inner.networks, of_outer.networks):
        return "scopes.ip_restrictions"
    if of_outer.window is not None and not _window_within(of_inner.window, of_outer.window):
        return "scopes.time_restrictions"
    for name, most in _limits(outer).items():
        if (own := _limits(inner).get(name)) is None or own > most:
            return f"scopes.usage_limits.{name}"
    return None


def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    if len(texts) > MAX_NETWORKS:
        raise RestrictionRefused(f"scopes.ip_restrictions names more than {MAX_NETWORKS} networks")
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError:
            raise RestrictionRefused("scopes.ip_restrictions names something that is no address or network") from None
    return tuple(found)


def _window(said: TimeRestrictions) -> Window:
    if len(said.timezone) > _MAX_ZONE:
        raise RestrictionRefused("scopes.time_restrictions.timezone is no IANA time zone")
    try:
        zone = ZoneInfo(said.timezone)
    except (KeyError, ValueError, OSError):
        raise RestrictionRefused("scopes.time_restrictions.timezone is no IANA time zone") from None
    start, end = _minute(said.start_time), _minute(said.end_time)
    if start == end:
        raise RestrictionRefused("scopes.time_restrictions starts and ends at the same time")
    length = (end - start) % _DAY or _DAY  # one that ends before it starts ends on the next day
    run = (1 << length) - 1
    week = 0
    for day in {_weekday(name) for name in said.days} if said.days else range(7):
        placed = run << (day * _DAY + start)
        week |= (placed & _ALWAYS) | (placed >> _WEEK)  # what runs over Sunday is Monday's
    return Window(week, zone)


def _weekday(name: str) -> int:
    for names in (_DAYS, _FULL_NAMES):
        if (lower := name.lower()) in names:
            return names.index(lower)
    raise RestrictionRefused("scopes.time_restrictions.days are mon, tue, wed, thu, fri, sat and sun")


def _minute(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if colon and len(hour) == len(minute) == 2 and (hour + minute).isascii() and (hour + minute).isdigit():  # noqa: PLR2004 - HH:MM
        total = int(hour) * 60 + int(minute)
        if total <= _DAY and int(minute) < 60:  # noqa: PLR2004 - minutes of an hour
            return total
    raise RestrictionRefused("scopes.time_restrictions: times are HH:MM, from 00:00 to 24:00")


def _limits(scopes: Scopes) -> dict[str, int]:
    limits = scopes.usage_limits
    if limits is None:
        return {}
    return {name: value for name in limits.__struct_fields__ if (value := getattr(limits, name)) is not None}


def _check_limits(scopes: Scopes) -> None:
    for name, value in _limits(scopes).items():
        if not 0 < value <= 2**31:
            raise RestrictionRefused(f"scopes.usage_limits.{name} is a number of requests, at least 1")


def _networks_within(inner: tuple[Network, ...] | None, outer: tuple[Network, ...]) -> bool:
    """A network lies within a union of networks exactly when it lies within one of them, once they are collapsed."""
    if inner is None:
        return False
    joined = _collapsed(outer)
    return all(any(_subnet(each, large) for large in joined) for each in inner)


def _collapsed(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    fours = [each for each in networks if isinstance(each, IPv4Network)]
    sixes = [each for each in networks if isinstance(each, IPv6Network)]
    return (*collapse_addresses(fours), *collapse_addresses(sixes))


def _subnet(small: Network, large: Network) -> bool:
    if isinstance(small, IPv4Network):
        return isinstance(large, IPv4Network) and small.subnet_of(large)
    return isinstance(large, IPv6Network) and small.subnet_of(large)


def _window_within(inner: Window | None, outer: Window) -> bool:
    """Windows of two places are not compared: how far apart their clocks are changes over the year."""
    if outer.week == _ALWAYS:
        return True
    return inner is not None and inner.zone.key == outer.zone.key and inner.week & ~outer.week == 0
