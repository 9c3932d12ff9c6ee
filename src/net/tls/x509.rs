//! What a certificate says of itself (RFC 5280 §4.1), as far as its owner can have got it wrong.
//!
//! This reads the operator's own files, and for a probe what a server has shown. It decides
//! nothing: who is trusted is for rustls to say.

use std::net::IpAddr;

/// The parts of a certificate that are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Who signed it, as it is encoded.
    pub issuer: &'a [u8],
    /// Whose it is, as it is encoded.
    pub subject: &'a [u8],
    /// The first second in which it is good, since 1970.
    pub not_before: i64,
    /// The last.
    pub not_after: i64,
    /// The host names in subjectAltName.
    pub names: Vec<String>,
    /// The addresses there.
    pub addresses: Vec<IpAddr>,
}

impl<'a> Facts<'a> {
    /// `None` where `der` is not a certificate.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let certificate = Der(der).expect(SEQUENCE)?;
        let mut to_be_signed = Der(Der(certificate).expect(SEQUENCE)?);
        if to_be_signed.0.first() == Some(&VERSION) {
            to_be_signed.next()?;
        }
        let _serial = to_be_signed.next()?;
        let _algorithm = to_be_signed.next()?;
        let issuer = to_be_signed.expect(SEQUENCE)?;
        let mut validity = Der(to_be_signed.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = to_be_signed.expect(SEQUENCE)?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        while let Some((tag, value)) = to_be_signed.next() {
            if tag == EXTENSIONS {
                alternative_names(value, &mut names, &mut addresses)?;
            }
        }
        Some(Self { issuer, subject, not_before, not_after, names, addresses })
    }

    /// Whether it was signed by its own key.
    pub fn is_self_signed(&self) -> bool {
        self.issuer == self.subject
    }
}

/// A name as people read it: its common name, else its organisation, else nothing.
pub fn readable(name: &[u8]) -> String {
    let mut parts = Der(name);
    let mut organisation = String::new();
    while let Some(part) = parts.expect(SET) {
        let Some(pair) = Der(part).expect(SEQUENCE) else { continue };
        let mut pair = Der(pair);
        let (Some(kind), Some((_, text))) = (pair.expect(OBJECT_ID), pair.next()) else { continue };
        let text = || String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
        match kind {
            COMMON_NAME => return text(),
            ORGANISATION => organisation = text(),
            _ => {}
        }
    }
    organisation
}

/// Seconds since 1970 as a date and a time of day (RFC 3339).
pub fn date(unix_secs: i64) -> String {
    let (days, secs) = (unix_secs.div_euclid(86_400), unix_secs.rem_euclid(86_400));
    // Days since the first of March of year 0, which begins a cycle of 400 years.
    let days = days + DAYS_TO_1970 - 1;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let day = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = 400 * cycle + year + i64::from(month <= 2);
    let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
}

/// What is left of a run of DER elements.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (bytes, behind) = rest.split_at_checked(length & 0x7f)?;
            if bytes.len() > 4 {
                return None;
            }
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    /// The content of the next element, which has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// The hosts among the extensions (RFC 5280 §4.2.1.6).
fn alternative_names(
    extensions: &[u8],
    names: &mut Vec<String>,
    addresses: &mut Vec<IpAddr>,
) -> Option<()> {
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some((_, extension)) = extensions.next() {
        let mut extension = Der(extension);
        if extension.next()? != (OBJECT_ID, SUBJECT_ALT_NAME) {
            continue;
        }
        let (mut tag, mut value) = extension.next()?;
        if tag == BOOLEAN {
            (tag, value) = extension.next()?;
        }
        let mut general = Der(Der(value).expect(SEQUENCE).filter(|_| tag == OCTET_STRING)?);
        while let Some((tag, name)) = general.next() {
            match (tag, name.len()) {
                (DNS_NAME, _) => names.push(String::from_utf8_lossy(name).into_owned()),
                (IP_ADDRESS, 4 | 16) => {
                    let v4 = name.first_chunk::<4>().filter(|_| name.len() == 4);
                    let v6 = name.first_chunk::<16>();
                    let address =
                        v6.map(|ip| IpAddr::from(*ip)).or_else(|| v4.map(|ip| (*ip).into()));
                    addresses.extend(address);
                }
                _ => {}
            }
        }
    }
    Some(())
}

/// Seconds since 1970 of a UTCTime or a GeneralizedTime (RFC 5280 §4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = |digits: &[u8]| {
        digits.iter().fold(0, |number, digit| 10 * number + i64::from(digit - b'0'))
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let mut pairs = rest.chunks(2).map(number);
    let mut pair = || pairs.next();
    let (month, day, hours, minutes, seconds) = (pair()?, pair()?, pair()?, pair()?, pair()?);
    // Days since 1970, with the year taken to begin in March, so that a leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(((days - DAYS_TO_1970) * 24 + hours) * 3600 + minutes * 60 + seconds)
}

/// Days from the first of March of year 0, counted as one, to the first of January 1970.
const DAYS_TO_1970: i64 = 719_469;

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
const SET: u8 = 0x31;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn a_certificate_tells_its_names_and_its_time() {
        let names = vec!["turn.example.org".to_owned(), "192.0.2.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2000, 2, 29);
        params.not_after = date_time_ymd(2051, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let facts = Facts::read(certificate.der()).unwrap();
        assert_eq!(facts.names, ["turn.example.org"]);
        assert_eq!(facts.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(readable(facts.subject), "rcgen self signed cert");
        // date -u -d 2000-02-29 +%s; the second lies behind what UTCTime can say.
        assert_eq!((facts.not_before, facts.not_after), (951_782_400, 2_556_144_000));
        assert!(facts.is_self_signed());
    }

    #[test]
    fn times_are_counted_from_1970() {
        for (tag, text, secs) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20240229120000Z", Some(1_709_208_000)),
            (GENERALIZED_TIME, "20240229120000", None),
            (UTC_TIME, "20240229120000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), secs, "{text}");
        }
    }

    #[test]
    fn seconds_are_written_as_the_dates_that_they_are() {
        // date -u -d @SECS +%FT%TZ
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_208_001, "2024-02-29T12:00:01Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (2_556_144_000, "2051-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(secs), text);
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_no_certificate_and_no_panic() {
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        for length in 0..certificate.der().len() {
            assert_eq!(Facts::read(&certificate.der()[..length]), None, "{length}");
        }
    }
}
