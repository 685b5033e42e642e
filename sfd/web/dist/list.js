// File names only ever become text nodes.
const { bricks } = await (await fetch("/api/bricks")).json();
for (const brick of bricks) {
  const item = document.createElement("li");
  item.append(`${brick.root}: ${brick.artifacts} artifacts, ${brick.unverified} unverified, side ${brick.side}`);
  if (brick.closed) {
    item.append(` (closed: ${brick.closed})`);
  } else {
    const picture = document.createElement("img");
    picture.alt = `Picture of ${brick.root}, coloured by kind`;
    picture.src = `/api/bricks/${encodeURIComponent(brick.name)}/tile/0/0/0.png?mode=kind&theme=light`;
    item.append(picture);
  }
  document.getElementById("bricks").append(item);
}
