//! Networks in templates: `cidr is holding(ip)`, `a is overlapping(b)`, `cidr | host(10)`, `network('10.0.0.7/24')`.

use std::net::IpAddr;

use ipnet::IpNet;
use minijinja::{Environment, Error, ErrorKind};

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_test(
        "holding",
        |outer: &str, inner: &str| -> Result<bool, Error> {
            let outer = net(outer)?;
            match inner.parse::<IpAddr>() {
                Ok(address) => Ok(outer.contains(&address)),
                Err(_) => Ok(outer.contains(&net(inner)?)),
            }
        },
    );
    environment.add_test("overlapping", |a: &str, b: &str| -> Result<bool, Error> {
        let (a, b) = (net(a)?, net(b)?);
        Ok(a.contains(&b.network()) || b.contains(&a.network()))
    });
    environment.add_filter("host", |cidr: &str, nth: u32| -> Result<String, Error> {
        host(cidr, nth)
    });
    environment.add_filter("prefix_length", |cidr: &str| -> Result<u8, Error> {
        Ok(net(cidr)?.prefix_len())
    });
    environment.add_function("network", |cidr: &str| -> Result<String, Error> {
        Ok(net(cidr)?.trunc().to_string())
    });
    environment.add_filter("ip_number", |address: &str| -> Result<u128, Error> {
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Ok(u128::from(u32::from(address))),
            Ok(IpAddr::V6(address)) => Ok(u128::from(address)),
            Err(_) => Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("`{address}` is not an address"),
            )),
        }
    });
}

fn net(text: &str) -> Result<IpNet, Error> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("`{text}` is not a network such as 10.0.0.0/16"),
            )
        })
}

fn host(cidr: &str, nth: u32) -> Result<String, Error> {
    let network = net(cidr)?;
    let outside = || {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("{cidr} has no host number {nth}"),
        )
    };
    let address = match network.network() {
        IpAddr::V4(first) => IpAddr::from(
            u32::from(first)
                .checked_add(nth)
                .ok_or_else(outside)?
                .to_be_bytes(),
        ),
        IpAddr::V6(first) => IpAddr::from(
            u128::from(first)
                .checked_add(u128::from(nth))
                .ok_or_else(outside)?
                .to_be_bytes(),
        ),
    };
    if network.contains(&address) {
        Ok(address.to_string())
    } else {
        Err(outside())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_service_address() {
        assert_eq!(host("10.245.0.0/16", 10).unwrap(), "10.245.0.10");
        assert!(host("10.245.0.0/30", 10).is_err());
    }
}
