//! `floor TARGET`: the bare proxy, alone. Prints the address that it listens on.
#![forbid(unsafe_code)]

use portcullis_benches::proxy;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).ok_or("usage: floor HOST:PORT")?.parse()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[allow(clippy::print_stdout, reason = "this program's output")]
    {
        println!("{}", listener.local_addr()?);
    }
    proxy::serve(listener, target).await?;
    Ok(())
}
