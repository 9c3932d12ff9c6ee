//! What of a configuration can change while a core runs.
//!
//! Nothing that relays is touched: an allocation, its permissions and its channels go on, but for
//! permissions whose peers may no longer be reached. The nonces' key and the realm stay, so that no
//! client has to begin again.

use ipnet::IpNet;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::turn::Server;
use crate::turn::acl::Ports;
use crate::turn::action::Action;
use crate::turn::alternate::Alternates;
use crate::turn::auth::Accounts;
use crate::turn::config::{Config, Limits, Software};
use crate::turn::connection::Connection;
use crate::turn::map::hasher;
use crate::turn::table::AllocationId;
use crate::turn::timer::Timer;
use crate::turn::tuple::{PeerAddr, Protocol};
use crate::wire::ErrorCode;

/// New settings, made ready where nobody's packets wait: it takes long to hash many passwords.
#[derive(Debug)]
pub struct Reload {
    accounts: Accounts,
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    limits: Limits,
    software: Software,
    alternates: Alternates,
}

impl Reload {
    /// What `config` says of credentials, peers, limits, SOFTWARE and other servers. The rest of it
    /// is not looked at.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let keyed = hasher(&mut StdRng::from_seed(seed));
        let Config { realm, credentials, relay, acl, limits, software, alternates, .. } = config;
        Self {
            accounts: Accounts::new(&realm, &credentials, keyed),
            allow: acl.allow,
            deny: acl.deny,
            limits,
            software,
            alternates: Alternates::new(alternates, relay.share),
        }
    }
}

impl Server {
    /// Goes by other settings from now on.
    pub fn reload(&mut self, reload: Reload) {
        let Reload { accounts, allow, deny, limits, software, mut alternates } = reload;
        self.disown(&accounts);
        self.accounts = accounts;
        self.limits = limits;
        self.nonces.set_lifetime(limits.nonce_lifetime);
        self.software = software;
        alternates.go_on_from(&self.alternates);
        self.alternates = alternates;
        if (&self.acl.allow, &self.acl.deny) != (&allow, &deny) {
            (self.acl.allow, self.acl.deny) = (allow, deny);
            self.judge_again();
        }
    }

    /// Who is no user any more, or has another password, keeps relaying until the lifetime is over,
    /// but a request in that name has to be signed anew.
    fn disown(&mut self, accounts: &Accounts) {
        let ids: Vec<_> = self.table.all().map(|(id, _)| id).collect();
        for id in ids {
            let Some(allocation) = self.table.get_mut(id) else { continue };
            let is_users = allocation.session.is_none();
            if is_users && self.accounts.has_changed(&allocation.username.0, accounts) {
                allocation.disowned = true;
            }
        }
    }

    /// Takes away the permissions and channels whose peers may no longer be reached.
    fn judge_again(&mut self) {
        let ids: Vec<_> = self.table.all().map(|(id, _)| id).collect();
        for id in ids {
            self.judge_permissions(id);
            self.judge_channels(id);
            self.judge_connections(id);
        }
    }

    fn judge_connections(&mut self, id: AllocationId) {
        let held: Vec<_> = self.connections.of(id).collect();
        for connection in held {
            let Some(&Connection { peer, .. }) = self.connections.get(connection) else { continue };
            let own_relay = self.is_own_relay(Protocol::Tcp, peer);
            let ports = self.acl.permits(peer.0, own_relay);
            if ports.is_some_and(|ports| self.may_pass(ports, Protocol::Tcp, peer)) {
                continue;
            }
            self.refuse_connect(connection, ErrorCode::FORBIDDEN);
            self.actions.push_back(Action::Disconnect { connection });
        }
    }

    fn judge_permissions(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else { return };
        let held: Vec<_> = allocation.permissions.iter().map(|(ip, it)| (*ip, *it)).collect();
        for (ip, permission) in held {
            // At an address of ours whatever relays at the time may be reached.
            let relays = permission.ports != Ports::All;
            let ports = self.acl.permits((ip, 0).into(), relays);
            let Some(allocation) = self.table.get_mut(id) else { return };
            match (ports, allocation.permissions.get_mut(&ip)) {
                (Some(ports), Some(permission)) => permission.ports = ports,
                (None, Some(_)) => {
                    allocation.permissions.remove(&ip);
                    self.timers.cancel(permission.expires, Timer::Permission(id, ip));
                    self.stats.permissions -= 1;
                }
                (_, None) => {}
            }
        }
    }

    fn judge_channels(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else { return };
        let mut held: Vec<_> = allocation.channels.iter().map(|(n, it)| (*n, *it)).collect();
        held.sort_unstable_by_key(|(number, _)| *number);
        for (number, channel) in held {
            let PeerAddr(peer) = channel.peer;
            let relays =
                channel.ports == Ports::Relays || self.is_own_relay(Protocol::Udp, channel.peer);
            let Some(ports) = self.acl.permits(peer, relays) else {
                self.unbind(id, number);
                continue;
            };
            let channels = self.table.get_mut(id).map(|allocation| &mut allocation.channels);
            if let Some(channel) = channels.and_then(|channels| channels.get_mut(&number)) {
                channel.ports = ports;
            }
        }
    }
}
