//! Signals become wishes: the first Ctrl-C drains, the second stops, the third insists. Ctrl-Z is none: all stands still, and goes on.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::engine::Wish;
use crate::process;

/// Listens to SIGINT, SIGTERM, SIGHUP and SIGQUIT for as long as the runtime lives, and turns them into wishes. SIGINT drains at first;
/// SIGTERM, SIGHUP (the terminal is gone) and SIGQUIT stop at once.
pub fn listen() -> std::io::Result<mpsc::UnboundedReceiver<Wish>> {
    let (wishes, inbox) = mpsc::unbounded_channel();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    let hangup = signal(SignalKind::hangup())?;
    let quit = signal(SignalKind::quit())?;
    let sender = wishes.clone();
    tokio::spawn(async move {
        let mut count = 0_u32;
        while interrupt.recv().await.is_some() {
            count += 1;
            let wish = match count {
                1 => Wish::Drain("SIGINT"),
                2 => Wish::Stop("SIGINT"),
                _ => Wish::Kill("SIGINT"),
            };
            // Nobody listens any more once the run is over.
            sender.send(wish).ok();
        }
    });
    // `Signal` names it on every system; the number is not the same.
    let number = rustix::process::Signal::TSTP.as_raw();
    let mut stop = signal(SignalKind::from_raw(number))?;
    tokio::spawn(async move {
        while stop.recv().await.is_some() {
            // Where it cannot be done there is nothing to do: the run goes on.
            tokio::task::spawn_blocking(process::stand_still).await.ok();
        }
    });
    for (mut source, name) in [
        (terminate, "SIGTERM"),
        (hangup, "SIGHUP"),
        (quit, "SIGQUIT"),
    ] {
        let sender = wishes.clone();
        tokio::spawn(async move {
            insist(&mut source, name, &sender).await;
        });
    }
    Ok(inbox)
}

async fn insist(source: &mut Signal, name: &'static str, sender: &mpsc::UnboundedSender<Wish>) {
    let mut first = true;
    while source.recv().await.is_some() {
        sender
            .send(if first {
                Wish::Stop(name)
            } else {
                Wish::Kill(name)
            })
            .ok();
        first = false;
    }
}
