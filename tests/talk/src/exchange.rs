//! The lines that say a packet and hear its answer: `connects`, `subscribes`, `publishes` and their like.

use crate::client::Event;
use crate::lexer::Word;
use crate::packet::{Heard, Kind};
use crate::play::Play;
use crate::step::{Exchange, Phrase, Verb};
use crate::uttered::{self, Uttered};

impl Play<'_> {
    pub(crate) fn exchange(&mut self, who: &str, exchange: &Exchange) -> Result<(), String> {
        let words = exchange.words.as_slice();
        let answer = exchange.answer.as_deref().unwrap_or_default();
        match exchange.verb {
            Verb::Connects => {
                self.say_packet(who, Kind::Connect, words)?;
                self.expect_packet(who, &[phrase(Kind::ConnAck, answer)]).map(|_| ())
            }
            Verb::Subscribes => self.request(who, Kind::Subscribe, Kind::SubAck, exchange),
            Verb::Unsubscribes => self.request(who, Kind::Unsubscribe, Kind::UnsubAck, exchange),
            Verb::Pings => self.request(who, Kind::PingReq, Kind::PingResp, exchange),
            Verb::Publishes => self.publishes(who, words, answer),
            Verb::Receives => self.receives(who, words),
            Verb::Disconnects => {
                self.say_packet(who, Kind::Disconnect, words)?;
                self.expect_end(who)
            }
        }
    }

    fn request(
        &mut self,
        who: &str,
        kind: Kind,
        answer_kind: Kind,
        exchange: &Exchange,
    ) -> Result<(), String> {
        self.say_packet(who, kind, &exchange.words)?;
        let heard = self.answer(who, answer_kind)?;
        self.fit(who, &[phrase(answer_kind, exchange.answer.as_deref().unwrap_or_default())], &heard)
    }

    fn publishes(&mut self, who: &str, words: &[Word], answer: &[Word]) -> Result<(), String> {
        let mut bytes = self.say_packet(who, Kind::Publish, words)?;
        let version = self.version_of(who);
        let kind = match uttered::take_packets(&mut bytes, version).first() {
            Some(Uttered::Publish { qos: 1, .. }) => Kind::PubAck,
            Some(Uttered::Publish { qos: 2, .. }) => Kind::PubRec,
            _ => return Ok(()), // QoS 0 has no answer.
        };
        let heard = self.answer(who, kind)?;
        self.fit(who, &[phrase(kind, answer)], &heard)?;
        if kind == Kind::PubAck || heard.code() >= 0x80 {
            return Ok(());
        }
        self.say_packet(who, Kind::PubRel, &[id_word(heard.id)])?;
        let heard = self.answer(who, Kind::PubComp)?;
        self.fit(who, &[phrase(Kind::PubComp, &[])], &heard)
    }

    fn receives(&mut self, who: &str, words: &[Word]) -> Result<(), String> {
        let heard = self.expect_packet(who, &[phrase(Kind::Publish, words)])?;
        if self.client(who).is_auto_ack {
            return Ok(());
        }
        match heard.qos {
            1 => self.say_packet(who, Kind::PubAck, &[id_word(heard.id)]).map(|_| ()),
            2 => {
                self.say_packet(who, Kind::PubRec, &[id_word(heard.id)])?;
                let released = self.answer(who, Kind::PubRel)?;
                self.fit(who, &[phrase(Kind::PubRel, &[id_word(heard.id)])], &released)?;
                self.say_packet(who, Kind::PubComp, &[id_word(heard.id)]).map(|_| ())
            }
            _ => Ok(()), // QoS 0 has no answer.
        }
    }

    /// Takes the first packet of this kind, with only PUBLISH and PUBREL in front of it, which stay.
    fn answer(&mut self, who: &str, kind: Kind) -> Result<Box<Heard>, String> {
        let stays = |event: &Event| match event {
            Event::Packet(heard) => heard.kind != kind && matches!(heard.kind, Kind::Publish | Kind::PubRel),
            Event::Broken(..) | Event::Ended => false,
        };
        loop {
            let place = self.client(who).inbox.iter().position(|event| !stays(event));
            if let Some(event) = place.and_then(|at| self.client(who).inbox.remove(at)) {
                self.client(who).inbox.push_front(event);
                let heard = self.take_packet(who)?;
                return match heard.kind == kind {
                    true => Ok(heard),
                    false => Err(format!("{} expected, {heard} came", kind.word())),
                };
            }
            let line = self.client(who).line.ok_or_else(|| format!("{who} has no connection"))?;
            if !self.pump(&[line]) {
                return Err(format!("{} expected, nothing came", kind.word()));
            }
        }
    }
}

fn phrase(kind: Kind, words: &[Word]) -> Phrase {
    Phrase { kind, words: words.to_vec() }
}

fn id_word(id: u16) -> Word {
    Word { key: Some("id".to_owned()), text: id.to_string(), group: None, after_comma: false }
}
