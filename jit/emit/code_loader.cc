// Linking artifacts into this process with ORC.

#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Support/ErrorHandling.h>
#include <llvm/Support/MemoryBuffer.h>

#include <cstring>

#include "jit/compiler.h"
#include "jit/emit/host_target.h"

// Compiler run-time functions that code generation may call for 128-bit division.
extern "C" __int128 __divti3(__int128, __int128);
extern "C" __int128 __modti3(__int128, __int128);
extern "C" unsigned __int128 __udivti3(unsigned __int128, unsigned __int128);
extern "C" unsigned __int128 __umodti3(unsigned __int128, unsigned __int128);

namespace tracelift::jit {

struct CodeLoader::Impl {
  std::unique_ptr<llvm::orc::LLJIT> jit;
  unsigned loaded = 0;
};

CodeLoader::CodeLoader() = default;
CodeLoader::~CodeLoader() = default;

std::expected<std::unique_ptr<CodeLoader>, std::string> CodeLoader::Create(
    const std::map<std::string, uint64_t>& more_symbols) {
  auto machine = CreateHostMachine();
  if (!machine) return std::unexpected(machine.error());
  llvm::orc::JITTargetMachineBuilder target((*machine)->getTargetTriple());
  target.setCPU(HostCpuName()).setRelocationModel(llvm::Reloc::PIC_).setCodeModel(llvm::CodeModel::Small);
  auto jit = llvm::orc::LLJITBuilder()
                 .setJITTargetMachineBuilder(std::move(target))
                 .setDataLayout((*machine)->createDataLayout())
                 .setLinkProcessSymbolsByDefault(false)
                 .setPlatformSetUp(llvm::orc::setUpInactivePlatform)
                 .setObjectLinkingLayerCreator([](llvm::orc::ExecutionSession& session, const llvm::Triple&) {
                   return std::make_unique<llvm::orc::ObjectLinkingLayer>(session);
                 })
                 .create();
  if (!jit) return std::unexpected(llvm::toString(jit.takeError()));

  llvm::orc::SymbolMap symbols;
  const auto add = [&](const char* name, auto* function) {
    symbols[(*jit)->mangleAndIntern(name)] = {llvm::orc::ExecutorAddr::fromPtr(function),
                                              llvm::JITSymbolFlags::Exported | llvm::JITSymbolFlags::Callable};
  };
  add("memcpy", static_cast<void* (*)(void*, const void*, size_t)>(&::memcpy));
  add("memmove", static_cast<void* (*)(void*, const void*, size_t)>(&::memmove));
  add("memset", static_cast<void* (*)(void*, int, size_t)>(&::memset));
  for (const auto& [name, address] : more_symbols) add(name.c_str(), reinterpret_cast<void (*)()>(address));
  add("__divti3", &__divti3);
  add("__modti3", &__modti3);
  add("__udivti3", &__udivti3);
  add("__umodti3", &__umodti3);
  if (auto error = (*jit)->getMainJITDylib().define(llvm::orc::absoluteSymbols(std::move(symbols)))) {
    return std::unexpected(llvm::toString(std::move(error)));
  }
  std::unique_ptr<CodeLoader> loader(new CodeLoader);
  loader->impl_ = std::make_unique<Impl>();
  loader->impl_->jit = std::move(*jit);
  return loader;
}

std::expected<uint64_t, std::string> CodeLoader::Link(std::span<const uint8_t> object, const std::string& symbol) {
  auto buffer = llvm::MemoryBuffer::getMemBufferCopy(llvm::StringRef(reinterpret_cast<const char*>(object.data()), object.size()), symbol);
  // A space of names for each: artifacts of other processes do not avoid each other's.
  auto names = impl_->jit->createJITDylib("artifact " + std::to_string(impl_->loaded++));
  if (!names) return std::unexpected(llvm::toString(names.takeError()));
  names->addToLinkOrder(impl_->jit->getMainJITDylib());
  if (auto error = impl_->jit->addObjectFile(*names, std::move(buffer))) {
    return std::unexpected(llvm::toString(std::move(error)));
  }
  auto address = impl_->jit->lookup(*names, symbol);
  if (!address) return std::unexpected(llvm::toString(address.takeError()));
  return address->getValue();
}

std::expected<ChunkFunction, std::string> CodeLoader::Load(const Artifact& artifact) {
  const auto address = Link(artifact.object, artifact.symbol);
  if (!address) return std::unexpected(address.error());
  return reinterpret_cast<ChunkFunction>(*address);
}

std::expected<ReferenceKernel, std::string> CodeLoader::LoadKernel(std::span<const uint8_t> code, const std::string& symbol) {
  const auto address = Link(code, symbol);
  if (!address) return std::unexpected(address.error());
  return reinterpret_cast<ReferenceKernel>(*address);
}

AddressRange LoadedCode(const Artifact& artifact, ChunkFunction function) {
  const llvm::StringRef bytes(reinterpret_cast<const char*>(artifact.object.data()), artifact.object.size());
  auto object = llvm::object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(bytes, artifact.symbol));
  if (!object) {
    llvm::consumeError(object.takeError());
    return {};
  }
  for (const llvm::object::SymbolRef& symbol : (*object)->symbols()) {
    auto name = symbol.getName();
    auto offset = symbol.getValue();
    auto section = symbol.getSection();
    if (name && offset && section && *name == artifact.symbol && *section != (*object)->section_end()) {
      const uint64_t begin = reinterpret_cast<uint64_t>(function) - *offset;
      return {begin, begin + (*section)->getSize()};
    }
    if (!name) llvm::consumeError(name.takeError());
    if (!offset) llvm::consumeError(offset.takeError());
    if (!section) llvm::consumeError(section.takeError());
  }
  return {};
}

void SetFatalErrorHandler(void (*handler)(const char* message)) {
  llvm::install_fatal_error_handler(
      [](void* data, const char* reason, bool) { reinterpret_cast<void (*)(const char*)>(data)(reason); },
      reinterpret_cast<void*>(handler));
}

}  // namespace tracelift::jit
