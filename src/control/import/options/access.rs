//! Who may relay, and how much.

use super::Fate::{Carried, Needless};
use super::{Row, unsupported};

pub(super) const ROWS: &[Row] = &[
    Row::value("realm", Carried("realm")),
    Row::flag("lt-cred-mech", Needless("every request of TURN is authenticated, always")),
    Row::flag(
        "no-auth",
        unsupported(
            "nobody relays without credentials: an open relay is found within hours",
            "give clients credentials, made by the web service (secrets in [auth]) or one user \
             for all (users)",
        ),
    ),
    Row::secret("user", Carried("[auth] users")),
    Row::flag("use-auth-secret", Carried("[auth] secrets")),
    Row::secret("static-auth-secret", Carried("[auth] secrets")),
    Row::value(
        "rest-api-separator",
        unsupported(
            "the expiry and the name of a time-limited username are separated by a colon",
            "have the web service that makes credentials write <expiry>:<name>",
        ),
    )
    .idle_at(":"),
    Row::value(
        "secret-ts-exp-time",
        Needless("a time-limited username says itself when it expires"),
    ),
    Row::flag("oauth", Carried("[third_party] server_name")),
    Row::value("server-name", Carried("[third_party] server_name")),
    Row::flag(
        "check-origin-consistency",
        Needless("ORIGIN never became a standard, and nothing depends on it here"),
    ),
    Row::flag(
        "secure-stun",
        unsupported(
            "Binding requests are answered without credentials, as clients expect; an answer \
             is hardly longer than its request",
            "limit who reaches the ports by the firewall",
        ),
    ),
    Row::flag("stun-only", Carried("[auth] secrets; [signalling] demo")),
    Row::flag(
        "no-stun",
        unsupported(
            "Binding requests are always answered: clients ask over the same socket that they \
             allocate by",
            "nothing: an answer is hardly longer than its request",
        ),
    ),
    Row::value("user-quota", Carried("[limits] allocations_per_user")),
    Row::value("total-quota", Carried("[limits] allocations_total")),
    Row::value("max-bps", Carried("[limits] bandwidth_per_allocation")).idle_at("0"),
    Row::value(
        "bps-capacity",
        unsupported(
            "there is no limit of bandwidth for all together yet",
            "shape the traffic of the relayed ports with `tc`, or lower allocations_total",
        ),
    )
    .idle_at("0"),
    Row::flag("mobility", Carried("[auth] mobility")),
    Row::value("stale-nonce", Carried("[limits] nonce_lifetime_secs")),
    Row::flag(
        "stateless-nonce",
        Needless("a nonce tells by itself whether it is good; none is kept"),
    ),
    Row::secret("stateless-nonce-secret", Carried("[auth] nonce_secret")),
    Row::value("max-allocate-lifetime", Carried("[limits] lifetime_max_secs")),
    Row::value("max-allocate-timeout", Carried("[limits] tcp_idle_secs")),
    Row::value(
        "channel-lifetime",
        unsupported(
            "a channel lasts for 600 s, as RFC 8656 §12 has it and as clients count on",
            "nothing: clients bind it again in time",
        ),
    )
    .idle_at("600"),
    Row::value(
        "permission-lifetime",
        unsupported(
            "a permission lasts for 300 s, as RFC 8656 §9 has it and as clients count on",
            "nothing: clients ask for it again in time",
        ),
    )
    .idle_at("300"),
    Row::flag(
        "unauthorized-ratelimit",
        unsupported(
            "challenges are not limited for each source; no answer to a stranger is longer than \
             three times its request, and none leaves anything behind here",
            "limit UDP from single sources to the listening ports by the firewall",
        ),
    ),
    Row::value("unauthorized-ratelimit-rps", Needless("it belongs to unauthorized-ratelimit")),
    Row::flag(
        "server-relay",
        unsupported(
            "a peer reaches a client only by a permission (RFC 8656 §9)",
            "have the client ask for permissions, or run the service on a port of its own",
        ),
    ),
];
