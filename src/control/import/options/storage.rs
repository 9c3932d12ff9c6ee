//! Databases, and what reads and writes them.

use super::Fate::Needless;
use super::{Row, unsupported};

const WHY: &str = "users and secrets are in turnserver.toml; there is no database";
const CURE: &str = "write secrets = [\"…\"] in [auth] with what `turnadmin --show-secret` prints; \
                    users need new passwords, for the database has only keys made of the old ones";

pub(super) const ROWS: &[Row] = &[
    Row::value("userdb", unsupported(WHY, CURE)),
    Row::value("db", unsupported(WHY, CURE)),
    Row::secret("psql-userdb", unsupported(WHY, CURE)),
    Row::secret("sql-userdb", unsupported(WHY, CURE)),
    Row::secret("mysql-userdb", unsupported(WHY, CURE)),
    Row::secret("mongo-userdb", unsupported(WHY, CURE)),
    Row::secret("redis-userdb", unsupported(WHY, CURE)),
    Row::secret(
        "redis-statsdb",
        unsupported("what allocations do is not published", "nothing comes near it yet"),
    ),
    Row::value("secret-key-file", Needless("it opens the password of a database")),
    Row::flag("no-auth-pings", Needless("there is no database to be asked")),
    Row::flag("no-dynamic-ip-list", Needless("[peers] is all there is")),
    Row::flag("no-dynamic-realms", Needless("there is one realm")),
];
