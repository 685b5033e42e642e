//! Kernel modules. Kernels without modules lack these tracepoints; the agent reports them as absent.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use sfd_common::{ABSENT, Hook, Kind, Op, Stream};

use crate::{
    emit::{Claim, What},
    kernel::{self, Address, Object, offset},
};

/// `MODULE_NAME_LEN` is 64 minus the size of a long.
const NAME_LEN: u32 = 64;

#[inline(always)]
fn report(name: Address, op: Op, hook: Hook) {
    let Some(claim) = Claim::take(Stream::Modules) else { return };
    // SAFETY: the buffer has room for a name after the header; the helper checks the address.
    let len = unsafe { bpf_probe_read_kernel_str(claim.payload().cast(), NAME_LEN, name as *const _) };
    if len > 1 {
        let what = What {
            kind: Kind::Module,
            op: op as u16,
            hook: hook as u16,
            stream: Stream::Modules,
            flags: 0,
            aux: 0,
            object: Object::NONE,
        };
        claim.send(&what, kernel::current(), len as u32 - 1);
    }
    claim.release();
}

#[inline(always)]
fn name_of(module: Address) -> Address {
    if offset!(module_name) == ABSENT { 0 } else { module + u64::from(offset!(module_name)) }
}

/// `module_load(module)`.
#[btf_tracepoint(function = "module_load")]
pub(crate) fn module_load(ctx: BtfTracePointContext) -> i32 {
    report(name_of(ctx.arg(0)), Op::ModuleLoad, Hook::ModuleLoad);
    0
}

/// `module_free(module)`.
#[btf_tracepoint(function = "module_free")]
pub(crate) fn module_free(ctx: BtfTracePointContext) -> i32 {
    report(name_of(ctx.arg(0)), Op::ModuleFree, Hook::ModuleFree);
    0
}

/// `module_request(name, wait, ip)`.
#[btf_tracepoint(function = "module_request")]
pub(crate) fn module_request(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), Op::ModuleRequest, Hook::ModuleRequest);
    0
}
