//! What a root does about everything that can happen to a tree, driven step by step: no daemon, no kernel, no waiting.

mod changes;
mod random;
mod restarts;
mod rig;

use rig::Rig;
