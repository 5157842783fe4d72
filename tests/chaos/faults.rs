//! The faults, one after the other: how each is brought about, how long it lasts, and how it ends.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Error;
use crate::load::{Load, Tally};
use crate::stage::{INSTANCES, Stage};

/// How long the network is away in a long round.
const NETWORK_AWAY: Duration = Duration::from_secs(30);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing, for comparison.
    Nothing,
    /// Instances are killed with SIGKILL, and started again elsewhere.
    InstancesKilled,
    /// An instance is stopped with SIGSTOP: it accepts and says nothing.
    InstanceStopped,
    /// An instance takes a second for each answer.
    InstanceSlow,
    /// Every instance in turn leaves in good order and comes back.
    RollingRestart,
    /// The control node is killed with SIGKILL, and started again.
    ControlKilled,
    /// The control node is killed and comes back with nothing.
    DataLost,
    /// The control node comes back with an early copy of its data: the index goes back.
    IndexReset,
    /// The control node cannot be reached: packets vanish.
    NoNetwork,
}

impl Fault {
    /// Names it in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::InstancesKilled => "instances killed (-9)",
            Self::InstanceStopped => "instance stopped (SIGSTOP)",
            Self::InstanceSlow => "instance slow (1 s)",
            Self::RollingRestart => "rolling restart, drained",
            Self::ControlKilled => "control killed, restarted",
            Self::DataLost => "control's data lost",
            Self::IndexReset => "index reset (early copy)",
            Self::NoNetwork => "no network to control",
        }
    }

    /// Says whether writes, too, must all succeed: nobody was cut off in the middle of one.
    pub(crate) fn spares_writes(self) -> bool {
        !matches!(self, Self::InstancesKilled | Self::InstanceStopped)
    }
}

/// What became of one fault.
pub(crate) struct Row {
    /// Which.
    pub(crate) fault: Fault,
    /// How long it lasted, with the rest after it.
    pub(crate) lasted: Duration,
    /// From its end until every registration was back.
    pub(crate) back_after: Duration,
    /// What was counted.
    pub(crate) tally: Tally,
}

/// Returns all of them, in order.
pub(crate) fn all(network: bool) -> Vec<Fault> {
    let mut faults = vec![
        Fault::Nothing,
        Fault::InstancesKilled,
        Fault::InstanceStopped,
        Fault::InstanceSlow,
        Fault::RollingRestart,
        Fault::ControlKilled,
        Fault::DataLost,
        Fault::IndexReset,
    ];
    if network {
        faults.push(Fault::NoNetwork);
    }
    faults
}

/// Brings a fault about, for some `time` in all, and ends it.
pub(crate) async fn suffer(fault: Fault, time: Duration, stage: &mut Stage, load: &Load) -> Result<Row, Error> {
    let begun = Instant::now();
    // Half of the time with the fault, the rest for what comes after it.
    let hold = time / 2;
    match fault {
        Fault::Nothing => pass(hold).await,
        Fault::InstancesKilled => {
            for which in 0..3 {
                stage.kill_instance(which);
                pass(hold / 3).await;
                stage.start_instance(which);
            }
        }
        Fault::InstanceStopped => {
            stage.signal_instance(1, Signal::STOP);
            pass(hold).await;
            stage.signal_instance(1, Signal::CONT);
        }
        Fault::InstanceSlow => {
            stage.slow_instance(2, 1000)?;
            pass(hold).await;
            stage.slow_instance(2, 0)?;
        }
        Fault::RollingRestart => {
            for which in 0..INSTANCES {
                stage.restart_instance(which)?;
            }
        }
        Fault::ControlKilled | Fault::DataLost | Fault::IndexReset => {
            stage.kill_control();
            match fault {
                Fault::DataLost => stage.lose_data()?,
                Fault::IndexReset => stage.set_back_data()?,
                _ => {}
            }
            pass(hold / 4).await;
            stage.start_control()?;
        }
        Fault::NoNetwork => {
            stage.set_network(false)?;
            pass(hold.min(NETWORK_AWAY)).await;
            stage.set_network(true)?;
        }
    }
    let back_after = stage.until_back();
    pass(time.saturating_sub(begun.elapsed())).await;
    let tally = load.turn().await;
    Ok(Row { fault, lasted: begun.elapsed(), back_after, tally })
}

/// Lets the load run: the length of a fault is what is chosen here, and no state is waited for.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
