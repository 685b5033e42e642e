//! What a root does about everything that can happen to a tree, driven step by step: no daemon, no kernel, no waiting.

mod changes;
mod check;
mod kernel;
mod limits;
mod meaning;
mod moves;
mod pace;
mod random;
mod restarts;
mod rig;
mod versions;
mod words;
mod workers;

use rig::Rig;
