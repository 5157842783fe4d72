//! The servers that the cases run against: the kit of the SDK, our control node as a program, and one that is given.
//!
//! A case asks for clients and for faults that any server can be made to have; it never asks which server it is.

use callboard::testing::Registry;
use callboard::{Client, ClientBuilder};
use callboard_tests::node::Node;

/// Names the address of a server that speaks the contract: `http://host:port`. It is written to, under names of the suite.
pub(crate) const ADDRESS_VARIABLE: &str = "CALLBOARD_CONTRACT_ADDR";

/// What a case needs of a server.
pub(crate) trait Server {
    /// Begins the settings of a client.
    fn builder(&self) -> ClientBuilder;

    /// Makes it lose all its data, the index included. False when it cannot be made to.
    fn lose_data(&mut self) -> bool;

    /// Builds a client with default settings.
    fn client(&self) -> Client {
        self.builder().build().expect("the settings hold")
    }
}

/// The kit, reached by a port like any other server.
pub(crate) struct Kit {
    registry: Registry,
    address: String,
}

impl Kit {
    pub(crate) async fn start() -> Self {
        let registry = Registry::start();
        let address = registry.listen().await.expect("a port is free");
        Self { registry, address: address.to_string() }
    }
}

impl Server for Kit {
    fn builder(&self) -> ClientBuilder {
        Client::builder().server(&self.address)
    }

    fn lose_data(&mut self) -> bool {
        self.registry.lose_data();
        true
    }
}

/// Our control node, which keeps nothing.
pub(crate) struct Program(Option<Node>);

impl Program {
    pub(crate) fn start() -> Self {
        Self(Some(Node::dev()))
    }
}

impl Server for Program {
    fn builder(&self) -> ClientBuilder {
        let node = self.0.as_ref().expect("it runs");
        Client::builder().server(node.http.address.to_string())
    }

    fn lose_data(&mut self) -> bool {
        self.0 = self.0.take().map(Node::killed_and_started_in_place);
        true
    }
}

/// A server that somebody else started.
pub(crate) struct Given(String);

impl Given {
    /// None when no address is given.
    pub(crate) fn named() -> Option<Self> {
        std::env::var(ADDRESS_VARIABLE).ok().filter(|address| !address.is_empty()).map(Self)
    }
}

impl Server for Given {
    fn builder(&self) -> ClientBuilder {
        Client::builder().server(&self.0)
    }

    fn lose_data(&mut self) -> bool {
        false
    }
}
