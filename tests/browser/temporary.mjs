import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// A directory of its own for whoever asks; it goes when this process goes, however that happens.
export function temporaryDirectory(what) {
  const directory = mkdtempSync(join(tmpdir(), `hairpin-${what}-`));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
