//! The modes with a device that begins.

use std::sync::{Arc, mpsc};

use hedgerow::coap::Code;
use hedgerow::net::{LinkedNode, Node, RequestMessage, itls_link};
use hedgerow::record::LegForm;
use tokio::runtime::Handle;

use super::scene::{DEVICE, LIMIT, Scene, WARM};
use super::ways::{over_leg, over_tls};
use crate::support::loopback;

/// The device is TLS's client, and its records have DTLS's headers up to the gateway.
pub fn translate_device(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    over_leg(scene, LegForm::Dtls)
}

/// A client of CoAP over TLS that knows of no gateway asks the device, which has begun the session with the gateway.
pub fn translate_device_in_its_session(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let gateway = scene.coming();
    scene.node.begin_hop(&gateway).unwrap();
    let node = scene.node.clone();
    let there = scene.spawn(move |runtime: &Handle| {
        runtime.block_on(async {
            // Once the device has the session the gateway has it too.
            while node.suite(gateway.address).await.is_none() {
                tokio::task::yield_now().await;
            }
        });
    });
    there.recv_timeout(LIMIT).expect("a session");
    over_tls(scene, scene.tls[0].address)
}

/// The device asks an Internet end that has come to the gateway, inside its own session with that.
pub fn itls(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let mut way = scene.outer();
    way.takes_flows = true;
    let (end, key, _) = scene.end_to_end();
    let (keys, application) = scene.answering();
    let (config, target) = scene.calling_inside();
    let drawn = Arc::clone(&scene.drawn);
    scene.spawn(move |runtime: &Handle| {
        runtime.block_on(async {
            let link = itls_link(&way, DEVICE).await.unwrap().link;
            let end = LinkedNode::serving(link, end, keys, application);
            // The gateway reads in order: once this is answered it knows that the end takes flows.
            let warm = RequestMessage::new(Code::GET).path(WARM);
            end.request(Some(&key), warm).await.unwrap();
            let node = Node::bind_client(loopback(), config).await.unwrap();
            let request = RequestMessage::new(Code::POST)
                .path(&drawn.path)
                .payload(drawn.request.clone());
            let response = node.request_inside(&target, request).await.unwrap();
            node.close().await;
            end.close().await;
            response.payload
        })
    })
}
