//! The bystander: a client that does everything right while others do not.
//!
//! Invariants:
//! - A round is a message to itself at QoS 1, acknowledged and received; the next one begins when it is complete.

use std::net::SocketAddr;
use std::slice;

use crash::clock::now_us;

use crate::client::{Client, Hello};
use crate::crowd::drive;

/// The bystander.
#[derive(Debug)]
pub struct Bystander {
    client: Client,
    rounds: u32,
    took_us: Vec<u64>,
}

impl Bystander {
    /// It connects and subscribes to its own topic.
    ///
    /// # Errors
    /// A sentence, if it is not let in.
    pub fn new(broker: SocketAddr) -> Result<Self, String> {
        let client = Client::connect(broker, &Hello::new("bystander"));
        let mut client = client.map_err(|failure| format!("the bystander cannot connect: {failure}"))?;
        drive(slice::from_mut(&mut client), "the bystander is let in", |c| c[0].is_in())?;
        client.subscribe(&["bystander/post".to_owned()], 1);
        drive(slice::from_mut(&mut client), "the bystander has subscribed", |c| c[0].granted == 1)?;
        Ok(Self { client, rounds: 0, took_us: Vec::new() })
    }

    /// Some rounds, one after the other.
    ///
    /// # Errors
    /// A sentence, if one is not completed in time.
    pub fn rounds(&mut self, count: u32) -> Result<(), String> {
        for _ in 0..count {
            let began_us = now_us();
            self.rounds += 1;
            let (rounds, number) = (usize::try_from(self.rounds).expect("few rounds"), self.rounds);
            self.client.publish("bystander/post", 1, false, number, 16);
            let is_complete = |c: &mut [Client]| {
                c[0].has_ended
                    || c[0].acked == rounds && c[0].got.len() == rounds && c[0].got.last() == Some(&number)
            };
            drive(slice::from_mut(&mut self.client), "a round of the bystander", is_complete)?;
            if self.client.has_ended {
                return Err(format!(
                    "the bystander was thrown out in round {number}: {:?}",
                    self.client.goodbye
                ));
            }
            self.took_us.push(now_us() - began_us);
        }
        Ok(())
    }

    /// How many rounds it has completed.
    #[must_use]
    pub fn completed(&self) -> u32 {
        self.rounds
    }

    /// The median of the rounds since the last call, in microseconds; for people.
    pub fn median_us(&mut self) -> u64 {
        let mut took_us = std::mem::take(&mut self.took_us);
        took_us.sort_unstable();
        took_us.get(took_us.len() / 2).copied().unwrap_or(0)
    }
}
