//! `[third_party]`: the keys that are shared with authorisation servers (RFC 7635).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use toml::value::Datetime;

use super::address::Wrong;
use super::check::{Check, user_name};
use super::file;
use super::source::At;
use crate::turn::config::{SharedKey, ThirdParty};
use crate::wire::{TokenAlgorithm, TokenKey};

/// Both alphabets, padded or not: authorisation servers print either (RFC 7518 §6.4.1).
const INDIFFERENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&alphabet::STANDARD, INDIFFERENT),
    GeneralPurpose::new(&alphabet::URL_SAFE, INDIFFERENT),
];

impl Check<'_> {
    pub(super) fn third_party(&mut self, file: &file::File) -> Option<ThirdParty> {
        let written = &file.third_party;
        let server_name = match written.server_name.as_str() {
            "" => file.realm.clone(),
            name => name.to_owned(),
        };
        let at = At("third_party", "server_name", None);
        if server_name.len() > 255 || server_name.chars().any(char::is_control) {
            let cause = "is no name: 255 bytes at most, and no control characters".to_owned();
            self.wrong(at, cause, "write a name that authorisation servers know this one by");
        }
        let mut keys: Vec<SharedKey> = Vec::new();
        for (index, key) in written.keys.iter().enumerate() {
            let at = At("third_party", "keys", Some(index));
            let is_taken = keys.iter().any(|other| other.kid == key.kid);
            let is_user = file.auth.users.iter().any(|user| user.name == key.kid);
            if is_taken {
                let cause = format!("kid {:?} stands here twice", key.kid);
                self.wrong(at, cause, "remove one of the two");
            } else if is_user {
                let cause = format!("{:?} is the name of one of [auth] users as well", key.kid);
                self.wrong(at, cause, "call the key something else: both stand in USERNAME");
            } else {
                let named = user_name(&key.kid, !file.auth.secrets.is_empty());
                let read = named.and_then(|()| shared_key(key));
                keys.extend(self.kept(at, read));
            }
        }
        let coturn_clients = written.coturn_clients;
        (!keys.is_empty()).then_some(ThirdParty { server_name, keys, coturn_clients })
    }
}

/// Never quotes the key.
fn shared_key(written: &file::SharedKey) -> Result<SharedKey, Wrong> {
    let kid = &written.kid;
    let Some(algorithm) = TokenAlgorithm::from_name(&written.algorithm) else {
        let cause = format!("{:?} is no algorithm that tokens are sealed with", written.algorithm);
        let known = TokenAlgorithm::ALL.map(|(_, name)| name).join(", ");
        return Err(Wrong::new(cause, format!("write one of {known}, as RFC 7518 §5.1 has them")));
    };
    let wanted = algorithm.key_length();
    let cure = format!("write what `openssl rand -base64 {wanted}` prints, in one line");
    let Some(bytes) = BASE64.iter().find_map(|engine| engine.decode(&written.key).ok()) else {
        return Err(Wrong::new(format!("the key of {kid:?} is not base64"), cure));
    };
    let Some(key) = TokenKey::new(algorithm, &bytes) else {
        let cause = format!(
            "the key of {kid:?} has {} bytes, and {} takes {wanted}",
            bytes.len(),
            written.algorithm
        );
        return Err(Wrong::new(cause, cure));
    };
    let expires_unix = match written.expires {
        None => None,
        Some(written) => Some(unix_secs(written).ok_or_else(|| {
            let cause = format!("\"{written}\" is no moment after which {kid:?} could expire");
            Wrong::new(cause, "write date, time and zone, as in expires = 2027-01-31T00:00:00Z")
        })?),
    };
    Ok(SharedKey { kid: kid.clone(), key, expires_unix })
}

/// Seconds since 1970; `None` for what is before, or has no date, time or zone.
fn unix_secs(written: Datetime) -> Option<u64> {
    let (date, time) = (written.date?, written.time?);
    let east = match written.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    // Days since 1970-01-01 of a year that begins in March, so that a leap day is its last.
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let of_day = i64::from(time.hour) * 3600
        + i64::from(time.minute) * 60
        + i64::from(time.second.unwrap_or(0));
    u64::try_from(days * 86_400 + of_day - east).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_what_date_says() {
        for (text, secs) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59Z", Some(951_868_799)),
            ("2027-01-31T00:00:00Z", Some(1_801_353_600)),
            ("2027-01-31T02:00:00+02:00", Some(1_801_353_600)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("1969-12-31T23:59:59Z", None),
            ("2027-01-31", None),
            ("2027-01-31T00:00:00", None),
        ] {
            assert_eq!(unix_secs(text.parse().expect("TOML")), secs, "{text}");
        }
    }
}
