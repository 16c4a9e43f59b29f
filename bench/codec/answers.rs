//! What a broker answers: CONNACK, SUBACK, acknowledgements, and in 5.0 its DISCONNECT.
//!
//! Why tolerant of brevity: 3.1.1 acknowledgements and short 5.0 ones carry no reason, which means success.
//!
//! Invariants:
//! - `None` means malformed; a refusal is a value, not an error.

use super::{Frame, Version, properties};

/// The answer to CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Connack {
    /// 0 when accepted; otherwise the return code (3.1.1) or reason code (5.0).
    pub(crate) code: u8,
    /// Whether the broker had kept a session for this client.
    pub(crate) session_present: bool,
    /// Limits that the broker announced.
    pub(crate) asked: properties::Asked,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Acknowledgement {
    /// The message it speaks of.
    pub(crate) packet_id: u16,
    /// Reason code; from 0x80 on the message was refused.
    pub(crate) reason: u8,
}

/// Reads a CONNACK.
pub(crate) fn connack(frame: &Frame<'_>, version: Version) -> Option<Connack> {
    let (&[flags, code], rest) = frame.body.split_first_chunk::<2>()?;
    let asked = match version {
        // A 5.0 client may be refused in 3.1.1's two-byte form by a broker that does not know 5.0.
        Version::V5 if !rest.is_empty() => properties::asked(rest)?.0,
        Version::V4 | Version::V5 => properties::Asked::default(),
    };
    Some(Connack { code, session_present: flags & 1 == 1, asked })
}

/// The packet id that a SUBACK answers.
pub(crate) fn suback_id(frame: &Frame<'_>) -> Option<u16> {
    frame.body.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
}

/// Reads a SUBACK for one filter: the refusing code, or `Some(None)` when granted.
pub(crate) fn suback_refusal(frame: &Frame<'_>, version: Version) -> Option<Option<u8>> {
    let (_packet_id, rest) = frame.body.split_first_chunk::<2>()?;
    let codes = match version {
        Version::V4 => rest,
        Version::V5 => properties::skip(rest)?,
    };
    codes.first().map(|&code| (code >= 0x80).then_some(code))
}

/// Reads one of the four acknowledgements.
#[inline]
pub(crate) fn acknowledgement(frame: &Frame<'_>) -> Option<Acknowledgement> {
    let (packet_id, rest) = frame.body.split_first_chunk::<2>()?;
    Some(Acknowledgement {
        packet_id: u16::from_be_bytes(*packet_id),
        reason: rest.first().copied().unwrap_or(0),
    })
}

/// The reason code of a broker's DISCONNECT; 0 when it gives none.
pub(crate) fn disconnect_reason(frame: &Frame<'_>) -> u8 {
    frame.body.first().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::properties::Asked;

    fn frame(body: &[u8]) -> Frame<'_> {
        Frame { first: 0x20, body, length: body.len() + 2 }
    }

    #[test]
    fn a_connack_tells_code_and_limits() {
        assert_eq!(connack(&frame(&[0, 5]), Version::V4).map(|answer| answer.code), Some(5));
        let answer = connack(&frame(&[0, 0, 3, 0x21, 0, 9]), Version::V5).expect("a lawful CONNACK");
        let asked = Asked { receive_maximum: Some(9), qos_maximum: None };
        assert_eq!(answer, Connack { code: 0, session_present: false, asked });
        assert_eq!(connack(&frame(&[1, 0]), Version::V4).map(|answer| answer.session_present), Some(true));
        assert_eq!(connack(&frame(&[0]), Version::V4), None);
        assert_eq!(connack(&frame(&[0, 0, 9]), Version::V5), None);
    }

    #[test]
    fn a_suback_is_granted_or_refused() {
        assert_eq!(suback_refusal(&frame(&[0, 1, 2]), Version::V4), Some(None));
        assert_eq!(suback_refusal(&frame(&[0, 1, 0x80]), Version::V4), Some(Some(0x80)));
        assert_eq!(suback_refusal(&frame(&[0, 1, 0, 0x87]), Version::V5), Some(Some(0x87)));
        assert_eq!(suback_refusal(&frame(&[0, 1]), Version::V4), None);
    }

    #[test]
    fn an_acknowledgement_without_reason_means_success() {
        assert_eq!(acknowledgement(&frame(&[1, 2])), Some(Acknowledgement { packet_id: 258, reason: 0 }));
        assert_eq!(acknowledgement(&frame(&[1, 2, 0x97])).map(|found| found.reason), Some(0x97));
        assert_eq!(acknowledgement(&frame(&[1])), None);
    }
}
