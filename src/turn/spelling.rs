//! How a username or a password may be spelt. RFC 8489 has clients prepare them by OpaqueString
//! (RFC 8265), RFC 5389 by SASLprep (RFC 4013), and most send what was typed. To ASCII it is all
//! the same, so this costs a server nothing but what is configured in other letters.

use std::borrow::Cow;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::PrecisFastInvocation as _;

/// The text as OpaqueString leaves it; as it is, where OpaqueString does not allow it.
pub(super) fn opaque(text: &str) -> Cow<'_, str> {
    OpaqueString::enforce(text).unwrap_or(Cow::Borrowed(text))
}

/// Every spelling that means this text, each once: the text itself is the first.
pub(super) fn spellings(text: &str) -> Vec<Cow<'_, str>> {
    let mut all = vec![Cow::Borrowed(text)];
    for prepared in [Some(opaque(text)), stringprep::saslprep(text).ok()].into_iter().flatten() {
        // SASLprep leaves nothing of some characters, and nothing is no password.
        if !prepared.is_empty() && !all.contains(&prepared) {
            all.push(prepared);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_has_one_spelling() {
        for text in ["alice", "a b", "p:w\"d", "~!@#$%^&*()"] {
            assert_eq!(spellings(text), [text]);
        }
    }

    #[test]
    fn what_each_profile_makes_of_it_is_a_spelling() {
        // RFC 5769 §2.4 and RFC 8489 B.1: a soft hyphen, a feminine ordinal, a Roman numeral.
        let typed = "The\u{AD}M\u{AA}tr\u{2168}";
        assert_eq!(spellings(typed), [typed, "TheMatrIX"]);
        // RFC 8265 §4.3, example 5: an en dash is no space, an ideographic space is one.
        assert_eq!(spellings("foo\u{3000}bar"), ["foo\u{3000}bar", "foo bar"]);
        // Composed and decomposed.
        assert_eq!(spellings("e\u{301}"), ["e\u{301}", "é"]);
        // Compatibility characters stay in OpaqueString and go in SASLprep.
        let typed = "\u{2168}e\u{301}";
        assert_eq!(spellings(typed), [typed, "\u{2168}\u{E9}", "IX\u{E9}"]);
        assert_eq!(spellings("マトリックス"), ["マトリックス"]);
    }

    #[test]
    fn what_no_profile_allows_is_used_as_it_is() {
        for text in ["tab\there", "\u{378}"] {
            assert_eq!(spellings(text), [text]);
        }
    }

    #[test]
    fn nothing_is_never_a_spelling() {
        assert_eq!(spellings("\u{AD}"), ["\u{AD}"]);
    }
}
