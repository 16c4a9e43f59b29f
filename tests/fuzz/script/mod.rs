//! Scripts: bytes read as what several clients, the network and the clock do to a broker of one or two cores.

mod bent;
mod bystander;
mod network;
mod play;
mod read;
mod speech;

pub use bent::bend;
pub use bystander::Bystander;
pub use network::Network;
pub use play::script;
pub use read::code;
