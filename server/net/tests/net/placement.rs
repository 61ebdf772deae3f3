//! Connections are spread evenly over the shards.

use std::rc::Rc;

use thalweg_net::{Limits, Listener, ListenerOptions, Net};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use crate::support::{Client, Toy};

#[test]
fn each_shard_gets_as_many_connections_as_the_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (net, inboxes) = Net::new(Limits::default(), 3);
        let mut shards = Vec::new();
        for inbox in inboxes {
            let toy = Rc::new(Toy::default());
            spawn_local(inbox.serve(toy.clone()));
            shards.push(toy);
        }
        let options = ListenerOptions::plaintext("TEST", "127.0.0.1", 0);
        let listener = Listener::bind(&options).unwrap();
        let address = listener.local_addr();
        tokio::spawn(net.accept(listener));

        let mut clients = Vec::new();
        for _ in 0..6 {
            let mut client = Client(TcpStream::connect(address).await.unwrap());
            client.ask("e").await;
            clients.push(client);
        }
        let served: Vec<usize> = shards.iter().map(|toy| toy.served.borrow().len()).collect();
        assert_eq!(served, [2, 2, 2]);
    });
}
