//! stub
use std::io;
use std::path::PathBuf;
/// The guardian of a run.
#[derive(Debug)]
pub struct Guardian {}
/// The hidden argument.
pub const ARGUMENT: &str = "__guardian";
/// Starts a guardian now, of the program that is running.
pub fn start(_marker_prefix: &str) -> io::Result<Guardian> {
    unimplemented!()
}
impl Guardian {
    /// Returns a guardian that is started when it is first needed.
    pub fn of(_program: PathBuf, _marker_prefix: &str) -> Self {
        unimplemented!()
    }
    /// Starts it, if it was not.
    pub fn ensure(&self) -> io::Result<()> {
        unimplemented!()
    }
    /// Tells it that all is well, and waits for its end.
    pub fn goodbye(self) -> io::Result<()> {
        unimplemented!()
    }
}
/// What the program does when its first argument is [`ARGUMENT`].
pub fn main(_args: &[String]) -> i32 {
    unimplemented!()
}
