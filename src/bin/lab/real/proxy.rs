//! The one way from the tools to what listens on loopback: names and addresses of the room on one side, ports of this machine on the other.
//!
//! Go's programs ask the proxy to connect them (`CONNECT 10.25.11.11:6443`). What the room does not have is refused, so nothing leaves this
//! machine; and since Go shows the reason of the refusal as the error of its connection, a machine that is off looks as it would without us.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keeper::Shared;
use super::web;
use crate::world::Port;
use crate::world::World;
use crate::world::store::Folder;

/// The port of every API server.
const API: u16 = 6443;

/// What goes through the proxy: number, address of the room, both ends.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<Vec<(u64, String, TcpStream, TcpStream)>>,
}

impl Connections {
    fn add(&self, address: &str, near: &TcpStream, far: &TcpStream) -> io::Result<u64> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.last().map_or(0, |(number, ..)| number + 1);
        open.push((
            number,
            address.to_string(),
            near.try_clone()?,
            far.try_clone()?,
        ));
        Ok(number)
    }

    fn remove(&self, number: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(other, ..)| *other != number);
    }

    /// Cuts what leads to machines that do not answer any more.
    pub(crate) fn cut(&self, world: &World) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, address, near, far) in open.iter() {
            // What is outside has no address of the room, and is never cut.
            if !address.is_empty() && !world.api_answers(address) {
                near.shutdown(Shutdown::Both).ok();
                far.shutdown(Shutdown::Both).ok();
            }
        }
    }
}

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away in the middle is no event.
            attend(stream, &shared).ok();
        });
    }
}

fn attend(mut near: TcpStream, shared: &Shared) -> io::Result<()> {
    near.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = head(&mut near)?;
    near.set_read_timeout(None)?;
    let mut words = head.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let met = if method == "CONNECT" {
        let cluster = cluster(&head);
        outside(target, cluster, shared).unwrap_or_else(|| meet(target, shared))
    } else {
        Err(format!("the lab's proxy leads nowhere outside: {target}"))
    };
    match met {
        Err(why) => near.write_all(
            format!("HTTP/1.1 502 {why}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        ),
        Ok((address, far)) => {
            near.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            let number = shared.connections.add(&address, &near, &far)?;
            let done = both_ways(&near, &far);
            shared.connections.remove(number);
            done
        }
    }
}

/// Reads the head of a request; nobody says more before it is answered.
fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 16_384 || stream.read(&mut byte)? == 0 {
            return Err(io::Error::other("this is no request"));
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// How the names begin by which the programs of the clusters are known to the proxy.
const PROGRAMS: &str = "cluster-";

/// Returns the name by which the programs of a cluster are known to the proxy.
pub(crate) fn name(cluster: usize) -> String {
    format!("{PROGRAMS}{cluster}")
}

/// Returns the cluster whose programs ask, if they are of one.
fn cluster(head: &str) -> Option<usize> {
    let said = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then_some(value)
    })?;
    let text = STANDARD.decode(said.trim().strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (user, _) = text.split_once(':')?;
    user.strip_prefix(PROGRAMS)?.parse().ok()
}

/// Connects to a host of the outside that is served here; nothing if it is none.
fn outside(
    target: &str,
    cluster: Option<usize>,
    shared: &Shared,
) -> Option<Result<(String, TcpStream), String>> {
    let host = target.strip_suffix(":443")?;
    let world = shared.world();
    if !web::serves(&world.site, host) {
        return None;
    }
    let ports = *shared.web.lock().unwrap_or_else(PoisonError::into_inner);
    let port = ports.map(|ports| web::port(&world, ports, cluster));
    let far = port.and_then(|port| TcpStream::connect(("127.0.0.1", port)).ok());
    let refused = || format!("dial tcp {host}:443: connect: connection refused");
    Some(far.map(|far| (String::new(), far)).ok_or_else(refused))
}

/// Connects to what a name or an address of the room stands for; otherwise says what a dial would have said.
fn meet(target: &str, shared: &Shared) -> Result<(String, TcpStream), String> {
    let (host, port) = target
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
        .ok_or_else(|| format!("address {target}: missing port in address"))?;
    let (address, cluster) = Folder::new(&shared.world)
        .change(|world| find(world, host, port))
        .map_err(|error| format!("the lab's world cannot be read: {error}"))??;
    let refused = || format!("dial tcp {address}:{port}: connect: connection refused");
    let local = shared
        .servers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&cluster)
        .copied();
    let far = local
        .and_then(|local| TcpStream::connect(("127.0.0.1", local)).ok())
        .ok_or_else(refused)?;
    Ok((address, far))
}

/// Finds the machine whose API server answers, and its cluster.
fn find(world: &mut World, host: &str, port: u16) -> Result<(String, usize), String> {
    let resolver = world.site.resolver.clone();
    let addresses = if host.parse::<IpAddr>().is_ok() {
        vec![host.to_string()]
    } else {
        world.resolve(host)
    };
    let Some(first) = addresses.first() else {
        return Err(format!(
            "dial tcp: lookup {host} on {resolver}:53: no such host"
        ));
    };
    let refused = |ip: &str| Err(format!("dial tcp {ip}:{port}: connect: connection refused"));
    if port != API || world.stumbles(first) {
        return refused(first);
    }
    // A client tries one address after the other until one accepts.
    if let Some(ip) = addresses.iter().find(|ip| world.api_answers(ip))
        && let Some(cluster) = world.kubernetes_of(ip)
    {
        return Ok((ip.clone(), cluster));
    }
    let absent = world
        .nodes
        .get(first)
        .is_none_or(|node| node.port() == Port::Absent);
    if absent && addresses.len() == 1 {
        return Err(format!(
            "dial tcp {first}:{port}: connect: no route to host"
        ));
    }
    refused(first)
}

/// Carries bytes both ways until both ends have said all.
fn both_ways(near: &TcpStream, far: &TcpStream) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut near_in, mut far_out) = (near.try_clone()?, far.try_clone()?);
    let up = std::thread::spawn(move || {
        io::copy(&mut near_in, &mut far_out).ok();
        far_out.shutdown(Shutdown::Write).ok();
    });
    let (mut far_in, mut near_out) = (far.try_clone()?, near.try_clone()?);
    io::copy(&mut far_in, &mut near_out).ok();
    near_out.shutdown(Shutdown::Write).ok();
    up.join().ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{cluster, name};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn programs_of_a_cluster_say_which_one_and_people_say_nothing() {
        let said = STANDARD.encode(format!("{}:", name(1)));
        let head = format!("CONNECT a:443 HTTP/1.1\r\nProxy-Authorization: Basic {said}\r\n\r\n");
        assert_eq!(cluster(&head), Some(1));
        assert_eq!(cluster("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), None);
        let other = STANDARD.encode("somebody:x");
        assert_eq!(
            cluster(&format!(
                "CONNECT a:443 HTTP/1.1\r\nproxy-authorization: Basic {other}\r\n\r\n"
            )),
            None
        );
    }
}
